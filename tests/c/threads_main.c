/* threads_main MODEL...: models on threads of several kinds, in the smallest parts, against one
 * thread; then the pool by itself. Prints what fails; status 1 then. Made to be run under
 * ThreadSanitizer too. */
#define _POSIX_C_SOURCE 200809L

#include "../../lstmc/pool.h"
#include "model_file.h"

#include <pthread.h>

static int checks, failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        checks++;                                                                                  \
        if (!(condition)) {                                                                        \
            failures++;                                                                            \
            printf("%s:%d: %s: ", base_name(__FILE__), __LINE__, #condition);                      \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

typedef void part_fn(void *argument, uint32_t part);

/* ------------------------------------------------------------------------------------- threads -- */

static uint32_t most_parts; /* of any call, for the contract's promise */
static uint32_t calls;

static void count_call(uint32_t parts) {
    calls++;
    if (parts > most_parts) most_parts = parts;
}

static void run_forwards(void *pool, uint32_t parts, part_fn *body, void *argument) {
    (void)pool;
    count_call(parts);
    for (uint32_t i = 0; i < parts; i++) body(argument, i);
}

static void run_backwards(void *pool, uint32_t parts, part_fn *body, void *argument) {
    (void)pool;
    count_call(parts);
    for (uint32_t i = parts; i-- > 0;) body(argument, i);
}

typedef struct one_part {
    part_fn *body;
    void *argument;
    uint32_t part;
} one_part;

static void *run_one(void *what) {
    const one_part *p = (const one_part *)what;
    p->body(p->argument, p->part);
    return NULL;
}

/* A thread for each part, new ones every time. */
static void run_apart(void *pool, uint32_t parts, part_fn *body, void *argument) {
    pthread_t threads[64];
    one_part each[64];
    (void)pool;
    count_call(parts);
    for (uint32_t i = 0; i < parts; i++) {
        const one_part p = {body, argument, i};
        each[i] = p;
        if (pthread_create(threads + i, NULL, run_one, each + i)) exit(2);
    }
    for (uint32_t i = 0; i < parts; i++) pthread_join(threads[i], NULL);
}

static void run_pool(void *pool, uint32_t parts, part_fn *body, void *argument) {
    count_call(parts);
    lstmc_pool_run(pool, parts, body, argument);
}

static const struct {
    const char *name;
    void (*run)(void *pool, uint32_t parts, part_fn *body, void *argument);
} kinds[] = {
    {"forwards", run_forwards},
    {"backwards", run_backwards},
    {"apart", run_apart},
    {"pool", run_pool},
};

/* -------------------------------------------------------------------------------------- models -- */

#define TIME 9u

/* Rows of the golden sample over and over, each a step later than the one before. */
static void fill_rows(const sample *golden, const lstmc_model *m, sample *s, uint32_t batch) {
    *s = *golden;
    s->batch = batch;
    s->time = golden->time < TIME ? golden->time : TIME;
    s->all = (io_array *)get_memory((s->inputs + s->outputs) * sizeof *s->all);
    for (uint32_t i = 0; i < s->inputs + s->outputs; i++) {
        const io_array *from = golden->all + i;
        io_array *a = s->all + i;
        const uint32_t all_steps = lstmc_model_steps(m, i, golden->time);
        const uint32_t steps = lstmc_model_steps(m, i, s->time);
        a->info = from->info;
        lay_out_array(a, batch, steps);
        a->data = (float *)get_memory(a->floats * sizeof(float));
        if (i >= s->inputs) continue;
        for (size_t at = 0; at < a->floats; at++) {
            size_t rest = at, place = 0, size = 1;
            for (uint32_t d = a->info.rank; d-- > 0;) {
                uint32_t n = a->info.dims[d], all = n;
                const int rows = n == LSTMC_BATCH, time = !rows && n > LSTMC_TIME - 256;
                if (rows) n = batch, all = golden->batch;
                if (time) n = steps, all = all_steps;
                size_t index = rest % n;
                rest /= n;
                if (time && a->batch_stride) index += at / a->batch_stride % batch;
                place += index % all * size;
                size *= all;
            }
            a->data[at] = from->data[place];
        }
    }
}

static int cuttable(const lstmc_model *m, const sample *s) {
    uint32_t has_time = !lstmc_model_whole(m);
    for (uint32_t i = 0; i < s->inputs; i++)
        has_time &= s->all[i].info.has_time && !s->all[i].info.clock;
    return (int)has_time;
}

/* The digest of all outputs and states after all steps, in cuts of `cut` steps; first all rows, then,
 * if the model goes on, two rows fewer: those left out keep their states. */
static uint32_t digest_of(const lstmc_model *m, sample *s, const lstmc_parallel *parallel,
                          uint32_t cut, const int32_t *lengths) {
    const lstmc_config config = {s->batch, s->time, LSTMC_TARGET_AUTO, parallel, 0, 0};
    lstmc_session *session;
    size_t size;
    uint32_t crc = 0;
    if (lstmc_arena_size(&size, m, &config)) exit(2);
    void *arena = get_memory(size);
    memset(arena, 0xff, size);
    if (lstmc_session_init(&session, m, &config, arena, size)) exit(2);
    clear_outputs(s);
    for (uint32_t t = 0; t < s->time; t += cut) {
        const uint32_t steps = s->time - t < cut ? s->time - t : cut;
        const uint32_t rows = t && s->batch > 2 ? s->batch - 2 : s->batch;
        const int status = run_part(session, s, 0, rows, t, steps, lengths);
        CHECK(!status, "%s", lstmc_status_text(status));
        crc ^= digest_outputs(s) + t;
    }
    for (uint32_t i = 0; i < lstmc_state_count(session); i++) {
        lstmc_state_info info;
        lstmc_state_describe(session, i, &info);
        float *state = (float *)get_memory(info.features * (size_t)s->batch * sizeof *state);
        CHECK(!lstmc_state_read(session, i, state, s->batch), "state %u", (unsigned)i);
        crc = lstmc_digest(crc, state, info.features * (size_t)s->batch);
        free(state);
    }
    free(arena);
    return crc;
}

static void test_model(const char *path) {
    static const uint32_t batches[] = {1, 3, 8, 19};
    size_t size;
    lstmc_model m;
    sample golden;
    const void *blob = read_file(path, &size);
    if (lstmc_model_open(&m, blob, size) || !open_sample(&golden, &m)) exit(2);
    for (size_t n = 0; n < sizeof batches / sizeof *batches; n++) {
        sample s;
        int32_t lengths[19];
        fill_rows(&golden, &m, &s, batches[n]);
        for (int32_t b = 0; b < 19; b++) lengths[b] = (b * 7 + 3) % (int32_t)(TIME + 1);
        for (uint32_t way = 0; way < 3; way++) {
            const uint32_t cut = way == 2 && cuttable(&m, &s) ? 4 : s.time;
            const int32_t *limits = way == 1 && !golden.all[0].info.clock ? lengths : NULL;
            const uint32_t want = digest_of(&m, &s, NULL, cut, limits);
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
                for (uint32_t threads = 2; threads <= 5; threads += threads == 3 ? 2 : 1) {
                    const lstmc_parallel p = {kinds[k].run, NULL, threads, 1};
                    most_parts = 0;
                    const uint32_t got = digest_of(&m, &s, &p, cut, limits);
                    CHECK(got == want, "%s, %s, %u threads, %u rows, way %u", base_name(path),
                          kinds[k].name, (unsigned)threads, (unsigned)batches[n], (unsigned)way);
                    CHECK(most_parts <= 2 * threads, "%u parts", (unsigned)most_parts);
                }
            }
        }
    }
}

/* ---------------------------------------------------------------------------------------- pool -- */

typedef struct tally {
    uint32_t parts;
    uint32_t done[64]; /* each part's own; no atomics: only one thread may have it */
    uint32_t inner;    /* of a call from inside a part */
} tally;

static void add_inner(void *argument, uint32_t part) { ((uint32_t *)argument)[part]++; }

static void add(void *argument, uint32_t part) {
    tally *t = (tally *)argument;
    t->done[part]++;
    if (part == 0) { /* runs by itself, and must not wait for the pool */
        uint32_t inner[4] = {0, 0, 0, 0};
        lstmc_pool_run(NULL, 4, add_inner, inner);
        t->inner += inner[0] + inner[1] + inner[2] + inner[3];
    }
}

static void *hammer(void *seed) {
    uint32_t random = *(uint32_t *)seed, bad = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        tally t;
        memset(&t, 0, sizeof t);
        random = random * 1664525u + 1013904223u;
        t.parts = 1 + (random >> 20) % 16;
        lstmc_pool_run(NULL, t.parts, add, &t);
        for (uint32_t part = 0; part < 64; part++) bad += t.done[part] != (part < t.parts);
        bad += t.inner != 4;
        if (random >> 29 == 0) lstmc_pool_set_threads(1 + (random >> 10) % 5);
        if (random >> 23 == 0) { /* long enough for the workers to fall asleep */
            const struct timespec some = {0, 200000};
            nanosleep(&some, NULL);
        }
    }
    *(uint32_t *)seed = bad;
    return NULL;
}

static void test_pool(void) {
    pthread_t threads[3];
    uint32_t seeds[3] = {1, 22, 333};
    for (int i = 0; i < 3; i++) {
        if (pthread_create(threads + i, NULL, hammer, seeds + i)) exit(2);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CHECK(seeds[i] == 0, "%u parts done not at all or twice", (unsigned)seeds[i]);
    }
    lstmc_pool_set_threads(0);
    lstmc_pool_set_threads(~0u);
}

int main(int argc, char **argv) {
    lstmc_pool_set_threads(3);
    for (int i = 1; i < argc; i++) test_model(argv[i]);
    CHECK(argc < 2 || calls > 1000, "%u calls went parallel", (unsigned)calls);
    test_pool();
    printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}
