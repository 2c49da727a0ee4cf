/* The kernels of losses and optimizers on every target that runs here: what they leave behind, as a digest.
 *
 *     check_training [cases]
 *
 * A line tells a kernel, a target and the digest of all cases. Cases are the same ones everywhere, so that
 * the lines of a kernel must agree, on one machine and between machines. Numbers are of all magnitudes, and
 * among them are those that arithmetic finds hard: but values, slots and weights are flushed, as they are
 * where they come from. */
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 96 };

static uint32_t state;

static uint32_t draw(uint32_t n) { /* Numerical Recipes' generator, its upper bits */
    state = state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(state >> 8) * n >> 24);
}

static float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static const uint32_t hard[] = {
    0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000,
    0x7fc00000, 0x1f800000, 0x1f7fffff, 0x9f800000, 0x26800000, 0x267fffff, 0x08800000, 0x087fffff,
    0x3f800000, 0xbf800000, 0x33d6bf95, 0x3f7ffffe, 0x3f7fffff, 0x42b17218, 0xc2b17218, 0xc2cff1b5,
};

/* Wild ones in some cases; 2^-4 .. 2^4 in others. */
static float draw_float(int wild) {
    if (wild && draw(10) == 0) return of_bits(hard[draw(sizeof hard / sizeof *hard)]);
    const uint32_t exponent = wild ? 20 + draw(210) : 123 + draw(8);
    return of_bits(draw(2) << 31 | exponent << 23 | draw(1u << 23));
}

static uint32_t digest(uint32_t crc, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        crc = lstmc_crc32_word(crc, (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits);
    }
    return crc;
}

/* ---------------------------------------------------------------------------------------- losses -- */

static uint32_t check_loss(const lstmc_train_kernels *k, uint32_t kind, uint32_t crc) {
    static float y[MOST], truth[MOST], dy[MOST];
    lstmc_loss_args a;
    const int wild = draw(2) == 0;
    memset(&a, 0, sizeof a);
    a.kind = (lstmc_loss_kind)kind;
    a.n = 1 + draw(MOST);
    a.from_logits = kind >= LSTMC_LOSS_BINARY_CROSSENTROPY ? draw(2) : 0;
    a.delta = of_bits((100 + draw(40)) << 23);
    a.smoothing =
        kind != LSTMC_LOSS_SPARSE_CROSSENTROPY && draw(2) ? (float)draw(100) / 128.0f : 0.0f;
    a.scale = draw_float(0);
    for (size_t i = 0; i < a.n; i++) {
        y[i] = lstmc_flush(draw_float(wild));
        if (!a.from_logits && !wild && kind > LSTMC_LOSS_HUBER) y[i] = (float)draw(1u << 20) / 1e6f;
        truth[i] = draw_float(wild);
        dy[i] = draw(2) ? 0.0f : lstmc_flush(draw_float(wild));
    }
    if (kind == LSTMC_LOSS_SPARSE_CROSSENTROPY) truth[0] = (float)draw((uint32_t)a.n);
    a.y = y;
    a.truth = truth;
    a.dy = draw(8) ? dy : NULL;
    const float loss = k->loss(&a);
    return digest(digest(crc, &loss, 1), dy, a.n);
}

/* ------------------------------------------------------------------------------------ optimizers -- */

static float least(float x, float size) { return x < size && x > -size ? 0.0f : x; }

static uint32_t check_update(const lstmc_train_kernels *k, uint32_t kind, uint32_t crc) {
    static float w[MOST], g[MOST], slots[3][MOST];
    lstmc_update_args a;
    const int wild = draw(2) == 0;
    memset(&a, 0, sizeof a);
    a.kind = (lstmc_optimizer_kind)kind;
    a.n = 16 * (1 + draw(MOST / 16));
    a.w = w;
    a.g = g;
    const uint32_t second = kind == LSTMC_OPTIMIZER_ADAM ? 1 : kind == LSTMC_OPTIMIZER_SGD ? 3 : 0;
    for (uint32_t s = 0; s < 3; s++) {
        const int needed = s == second || (kind == LSTMC_OPTIMIZER_ADAM && s == 0);
        a.slot[s] = needed || draw(2) ? slots[s] : NULL;
    }
    for (size_t i = 0; i < a.n; i++) {
        w[i] = lstmc_flush(draw_float(wild));
        g[i] = draw(5) ? draw_float(wild) : 0.0f;
        for (uint32_t s = 0; s < 3; s++) {
            const int squares = s == second || (kind == LSTMC_OPTIMIZER_ADAM && s == 2);
            const float x = draw(3) ? draw_float(wild) : 0.0f;
            slots[s][i] = squares ? least(x < 0.0f ? -x : x, 0x1p-110f) : lstmc_flush(x);
        }
    }
    a.nesterov = draw(2);
    a.clips = draw(2);
    a.factor = draw(20) ? of_bits((100 + draw(28)) << 23) : of_bits(0x7fc00000u);
    a.clip = draw(2) ? of_bits((67 + draw(90)) << 23) : of_bits(0x7f800000u);
    a.rate = lstmc_flush(draw_float(0) * 0.01f);
    a.decay = draw(2) ? draw_float(0) * 0.001f : 0.0f;
    a.keep_1 = (float)draw(256) / 256.0f;
    a.keep_2 = 1.0f - of_bits((104 + draw(23)) << 23);
    a.fresh_1 = 1.0f - a.keep_1;
    a.fresh_2 = 1.0f - a.keep_2;
    a.momentum = (float)draw(256) / 256.0f;
    a.epsilon = of_bits((kind == LSTMC_OPTIMIZER_ADAM ? 77 + draw(40) : 27 + draw(90)) << 23);
    k->update(&a);
    crc = digest(digest(crc, w, a.n), g, a.n);
    for (uint32_t s = 0; s < 3; s++) crc = digest(crc, slots[s], a.n);
    return crc;
}

static uint32_t check_squares(const lstmc_train_kernels *k, uint32_t kind, uint32_t crc) {
    static float x[16 * MOST];
    float sums[16];
    const int wild = draw(2) == 0;
    const size_t rows = 1 + draw(MOST);
    (void)kind;
    for (size_t i = 0; i < 16 * rows; i++) x[i] = draw_float(wild);
    k->squares(x, rows, 16, sums);
    return digest(crc, sums, 16);
}

static const struct {
    const char *name;
    uint32_t (*check)(const lstmc_train_kernels *kernels, uint32_t kind, uint32_t crc);
    uint32_t kind;
} checks[] = {
    {"mse", check_loss, LSTMC_LOSS_MSE},
    {"mae", check_loss, LSTMC_LOSS_MAE},
    {"huber", check_loss, LSTMC_LOSS_HUBER},
    {"binary", check_loss, LSTMC_LOSS_BINARY_CROSSENTROPY},
    {"categorical", check_loss, LSTMC_LOSS_CATEGORICAL_CROSSENTROPY},
    {"sparse", check_loss, LSTMC_LOSS_SPARSE_CROSSENTROPY},
    {"sgd", check_update, LSTMC_OPTIMIZER_SGD},
    {"rmsprop", check_update, LSTMC_OPTIMIZER_RMSPROP},
    {"adam", check_update, LSTMC_OPTIMIZER_ADAM},
    {"squares", check_squares, 0},
};

/* NULL where there is none. */
static const lstmc_train_kernels *kernels_of(lstmc_target target) {
    if (lstmc_target_resolve(target) != target) return NULL;
#define FIND(NAME, name, have)                                                                     \
    if (have && target == LSTMC_TARGET_##NAME) return &lstmc_kernels_##name##_train;
    LSTMC_TARGETS(FIND)
#undef FIND
    return NULL;
}

int main(int argc, char **argv) {
    const int cases = argc > 1 ? atoi(argv[1]) : 200;
    for (size_t c = 0; c < sizeof checks / sizeof *checks; c++) {
        for (int target = LSTMC_TARGET_SCALAR; target < LSTMC_TARGET_COUNT; target++) {
            const lstmc_target t = (lstmc_target)target;
            uint32_t crc = 0xffffffffu;
            const lstmc_train_kernels *k = kernels_of(t);
            if (!k) continue;
            state = 1;
            for (int i = 0; i < cases; i++) crc = checks[c].check(k, checks[c].kind, crc);
            printf("%s %s %08lx\n", checks[c].name, lstmc_target_name(t), (unsigned long)~crc);
        }
    }
    return 0;
}
