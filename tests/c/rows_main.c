/* rows_main TARGET: the row kernels of the LSTM and the GRU with panels of many widths and any number of
 * columns, the target's against the scalar ones, to the bit. Prints "N checks, M failures". */
#include "kernels.h"

#include <stdio.h>

#define UNITS 48u
#define COLUMNS 13u

static float weights[2][UNITS * 4 * COLUMNS], init[UNITS * 4], more[UNITS], vectors[2][COLUMNS];
static float before[UNITS], states[2][2][UNITS], outputs[2][UNITS];
static unsigned long checks, failures;

static uint32_t state = 1;

/* From -2 to 2, in steps that leave something to round. */
static float number(void) {
    state = state * 1664525u + 1013904223u;
    return ((float)(state >> 8) / 8388608.0f - 1.0f) * 2.0f;
}

static void fill(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = number();
}

static void compare(const lstmc_kernels *kernels, uint32_t panel, uint32_t k0, uint32_t k1) {
    const lstmc_kernels *both[2] = {&lstmc_kernels_scalar, kernels};
    lstmc_step_args a;
    for (uint32_t option = 0; option < 8; option++) {
        float start[UNITS];
        fill(start, UNITS);
        for (size_t i = 0; i < 2; i++) {
            memset(&a, 0, sizeof a);
            memset(states[i], 0, sizeof states[i]);
            memset(outputs[i], 0, sizeof outputs[i]);
            memcpy(states[i][0], start, sizeof start);
            a.segment[0].w = weights[0];
            a.segment[0].v = vectors[0];
            a.segment[0].k = k0;
            a.segment[1].w = weights[1];
            a.segment[1].v = vectors[1];
            a.segment[1].k = k1;
            a.init = init;
            a.more = more;
            a.before = before;
            a.c = states[i][0];
            a.h = states[i][1];
            a.y = outputs[i];
            a.plain = option & 1;
            a.gate.kind = a.plain ? LSTMC_FN_SIGMOID : LSTMC_FN_RELU;
            a.candidate.kind = a.output.kind = a.plain ? LSTMC_FN_TANH : LSTMC_FN_SIGMOID;
            a.backwards = option >> 1 & 1;
            a.panel = panel;
            a.panels = UNITS / panel;
            a.units = a.panel * a.panels - k0 % panel;
            if (option & 4) {
                both[i]->gru_row(&a);
            } else {
                both[i]->lstm_row(&a);
            }
        }
        checks++;
        if (memcmp(states[0], states[1], sizeof states[0]) != 0 ||
            memcmp(outputs[0], outputs[1], sizeof outputs[0]) != 0) {
            failures++;
            printf("panel %lu, k %lu and %lu, option %lu\n", (unsigned long)panel,
                   (unsigned long)k0, (unsigned long)k1, (unsigned long)option);
        }
    }
}

int main(int argc, char **argv) {
    int target = LSTMC_TARGET_SCALAR;
    if (argc != 2) return 2;
    while (target < LSTMC_TARGET_COUNT &&
           strcmp(lstmc_target_name((lstmc_target)target), argv[1]) != 0)
        target++;
    if (target == LSTMC_TARGET_COUNT) return 2;
    for (size_t i = 0; i < 2; i++) {
        fill(weights[i], UNITS * 4 * COLUMNS);
        fill(vectors[i], COLUMNS);
    }
    fill(init, UNITS * 4);
    fill(more, UNITS);
    fill(before, UNITS);
    for (uint32_t panel = 1; panel <= UNITS; panel++) {
        const lstmc_kernels *kernels = lstmc_kernels_find((lstmc_target)target, panel);
        if (kernels == &lstmc_kernels_scalar) continue;
        for (uint32_t k = 0; k <= COLUMNS; k++) compare(kernels, panel, k, (k * 5 + 1) % 14);
    }
    printf("%lu checks, %lu failures\n", checks, failures);
    return failures != 0;
}
