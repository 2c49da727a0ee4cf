/* STEPS steps of an exported model "net" of one input and one output, for somebody to count
 * instructions: it has passed its self-test before. */
#include "net.h"

static float x[NET_INPUT_SIZE], y[NET_OUTPUT_SIZE];

int main(void) {
    if (net_selftest() != NET_GOLDEN_DIGEST) return 1;
    for (uint32_t t = 0; t < STEPS; t++) {
        for (uint32_t i = 0; i < NET_INPUT_SIZE; i++) {
            x[i] = (float)((int32_t)((t * 7 + i * 5) % 13) - 6) * 0.25f;
        }
        net_step(x, y);
    }
    return 0;
}
