/* steps_main MODEL TARGET STEPS: feed the model one step of one row STEPS times, for somebody to count
 * instructions. Prints the digest of all outputs. */
#include "model_file.h"

int main(int argc, char **argv) {
    size_t size;
    lstmc_model model;
    lstmc_io_info in, out;
    int status = 0, target = LSTMC_TARGET_SCALAR;
    if (argc != 4) return 2;
    while (target < LSTMC_TARGET_COUNT &&
           strcmp(lstmc_target_name((lstmc_target)target), argv[2]) != 0)
        target++;
    const void *blob = read_file(argv[1], &size);
    if (lstmc_model_open(&model, blob, size) || lstmc_model_io(&model, 0, &in) ||
        lstmc_model_io(&model, 1, &out))
        return 2;
    lstmc_session *session = make_session(&model, 1, 1, (lstmc_target)target, &status);
    if (status) {
        fprintf(stderr, "%s\n", lstmc_status_text(status));
        return 2;
    }
    float *x = (float *)get_memory(in.features * sizeof *x);
    float *y = (float *)get_memory(out.features * sizeof *y);
    const long steps = strtol(argv[3], NULL, 10);
    uint32_t crc = 0;
    lstmc_array from, to;
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    from.data = x;
    to.data = y;
    for (long t = 0; t < steps; t++) {
        for (uint32_t i = 0; i < in.features; i++) {
            x[i] = (float)((t * 7 + (long)i * 5) % 13 - 6) * 0.25f;
        }
        status = lstmc_run(session, &from, &to, 1, 1, NULL);
        if (status) return 2;
    }
    crc = lstmc_digest(crc, y, out.features);
    printf("%08x\n", (unsigned)crc);
    return 0;
}
