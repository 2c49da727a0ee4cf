/* digest_main MODEL...: run each model's golden sample on every target this build and this CPU
 * have, whole, step by step, in chunks and row by row. Prints a line for each of them,
 *
 *     FILE TARGET WAY DIGEST...
 *
 * with the digest of each output; status 1 if one is not what the file says.
 *
 * -DHOSTILE_MODE: main has the FPU flush subnormals and round towards zero, where it can. */
#include "float_mode.h"
#include "model_file.h"

enum { WHOLE, STEPS, CHUNKS, ROWS, WAYS };
static const char *const way_names[WAYS] = {"whole", "steps", "chunks", "rows"};

static int run_way(const lstmc_model *m, sample *s, lstmc_target target, int way) {
    int status;
    uint32_t has_time = !lstmc_model_whole(m); /* time may be cut */
    for (uint32_t i = 0; i < s->inputs; i++)
        has_time &= s->all[i].info.has_time && !s->all[i].info.clock;
    for (uint32_t b0 = 0; b0 < s->batch; b0 += way == ROWS ? 1 : s->batch) {
        const uint32_t rows = way == ROWS ? 1 : s->batch;
        lstmc_session *session = make_session(m, rows, s->time, target, &status);
        if (status) return status;
        uint32_t t0 = 0, n = 0;
        while (t0 < s->time) {
            uint32_t steps = way == STEPS ? 1 : way == CHUNKS ? 1 + n++ % 5 : s->time;
            if (!has_time || steps > s->time - t0) steps = s->time - t0;
            status = run_part(session, s, b0, rows, t0, steps, NULL);
            if (status) return status;
            t0 += steps;
        }
    }
    return LSTMC_OK;
}

int main(int argc, char **argv) {
    int bad = argc < 2;
    for (int i = 1; i < argc; i++) {
        size_t size;
        lstmc_model model;
        sample s;
        const void *blob = read_file(argv[i], &size);
        int status = lstmc_model_open(&model, blob, size);
        if (status || !open_sample(&s, &model)) {
            fprintf(stderr, "%s: %s\n", argv[i], lstmc_status_text(status));
            return 2;
        }
        for (int t = LSTMC_TARGET_SCALAR; t < LSTMC_TARGET_COUNT; t++) {
            if (!lstmc_target_available((lstmc_target)t)) continue;
            for (int way = 0; way < WAYS; way++) {
                clear_outputs(&s);
#ifdef HOSTILE_MODE
                float_mode(1);
                status = run_way(&model, &s, (lstmc_target)t, way);
                if (!float_mode(0)) {
                    fprintf(stderr, "the caller's mode is lost\n");
                    return 2;
                }
#else
                status = run_way(&model, &s, (lstmc_target)t, way);
#endif
                if (status) {
                    fprintf(stderr, "%s: %s\n", argv[i], lstmc_status_text(status));
                    return 2;
                }
                printf("%s %s %s", base_name(argv[i]), lstmc_target_name((lstmc_target)t),
                       way_names[way]);
                for (uint32_t o = s.inputs; o < s.inputs + s.outputs; o++) {
                    printf(" %08x", (unsigned)lstmc_digest(0, s.all[o].data, s.all[o].floats));
                }
                printf("\n");
                bad |= !outputs_are_golden(&s);
            }
        }
    }
    return bad;
}
