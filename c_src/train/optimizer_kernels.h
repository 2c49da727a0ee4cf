/* A step of an optimizer, weight by weight: lstmc_update_args. Included by train_algorithms.h.
 *
 * docs/TRAINING.md says why no bit depends on whether a machine knows subnormals: gradients, first
 * moments and weights are flushed as all values are (below 2^-64: +0), a gradient below 2^-50 has no square,
 * and second moments below 2^-110 are +0. */

/* The gradient as the optimizer takes it, in [-clip, clip]; where it was there are zeros. */
V_INLINE v_f32 update_gradient(const lstmc_update_args *a, size_t i) {
    const v_f32 zero = v_set1(0.0f);
    v_f32 g = v_flush(v_load(a->g + i));
    v_store(a->g + i, zero);
    if (a->clips) { /* 0 stays 0 where a norm is NaN: padding has no part in it */
        g = v_if_lt(zero, v_abs(g), v_mul(g, v_set1(a->factor)), g);
        g = v_flush(v_max(v_set1(-a->clip), v_min(v_set1(a->clip), g)));
    }
    return g;
}

/* The weight, decayed. */
V_INLINE v_f32 update_weight(const lstmc_update_args *a, size_t i) {
    const v_f32 w = v_load(a->w + i);
    return a->decay != 0.0f ? v_fnma(v_set1(a->decay), w, w) : w;
}

/* A moving average: keep x + fresh y. */
V_INLINE v_f32 update_average(float keep, v_f32 x, float fresh, v_f32 y) {
    return v_fma(v_set1(keep), x, v_mul(v_set1(fresh), y));
}

/* That of squares. */
V_INLINE v_f32 update_second(const lstmc_update_args *a, float *at, v_f32 g) {
    const v_f32 zero = v_set1(0.0f);
    const v_f32 real = v_if_lt(v_abs(g), v_set1(0x1p-50f), zero, g);
    const v_f32 v = update_average(a->keep_2, v_load(at), a->fresh_2, v_mul(real, real));
    const v_f32 kept = v_if_lt(v, v_set1(0x1p-110f), zero, v);
    v_store(at, kept);
    return kept;
}

V_INLINE void update_sgd(const lstmc_update_args *a) {
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const v_f32 g = update_gradient(a, i), w = update_weight(a, i);
        v_store(a->w + i, v_flush(v_fnma(v_set1(a->rate), g, w)));
    }
}

/* m' = momentum m - rate g; the weight moves by m', or by momentum m' - rate g. */
V_INLINE void update_momentum(const lstmc_update_args *a) {
    const v_f32 momentum = v_set1(a->momentum), rate = v_set1(a->rate);
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const v_f32 g = update_gradient(a, i), w = update_weight(a, i);
        const v_f32 before = v_load(a->slot[0] + i);
        const v_f32 m = v_flush(v_fnma(rate, g, v_mul(momentum, before)));
        const v_f32 move = a->nesterov ? v_fnma(rate, g, v_mul(momentum, m)) : m;
        v_store(a->slot[0] + i, m);
        v_store(a->w + i, v_flush(v_add(w, move)));
    }
}

/* The direction is g / sqrt(v + epsilon); centered, v less the square of the mean gradient. */
V_INLINE void update_rmsprop(const lstmc_update_args *a) {
    const v_f32 zero = v_set1(0.0f), rate = v_set1(a->rate), epsilon = v_set1(a->epsilon);
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const v_f32 g = update_gradient(a, i), w = update_weight(a, i);
        v_f32 v = update_second(a, a->slot[0] + i, g);
        if (a->slot[2]) {
            const v_f32 mean =
                v_flush(update_average(a->keep_2, v_load(a->slot[2] + i), a->fresh_2, g));
            const v_f32 spread = v_fnma(mean, mean, v);
            v_store(a->slot[2] + i, mean);
            /* What rounding has left of it may be negative. */
            v = v_if_lt(spread, v_set1(0x1p-110f), zero, spread);
        }
        const v_f32 move = v_flush(v_div(g, v_sqrt(v_add(v, epsilon))));
        if (a->slot[1]) {
            const v_f32 before = v_load(a->slot[1] + i);
            const v_f32 m = v_flush(update_average(a->momentum, before, a->rate, move));
            v_store(a->slot[1] + i, m);
            v_store(a->w + i, v_flush(v_sub(w, m)));
        } else {
            v_store(a->w + i, v_flush(v_fnma(rate, move, w)));
        }
    }
}

/* The direction is m / (sqrt(v) + epsilon). */
V_INLINE void update_adam(const lstmc_update_args *a, int amsgrad) {
    const v_f32 rate = v_set1(a->rate), epsilon = v_set1(a->epsilon);
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const v_f32 g = update_gradient(a, i), w = update_weight(a, i);
        const v_f32 m = v_flush(update_average(a->keep_1, v_load(a->slot[0] + i), a->fresh_1, g));
        v_f32 v = update_second(a, a->slot[1] + i, g);
        v_store(a->slot[0] + i, m);
        if (amsgrad) { /* the largest so far; NaN stays */
            v = v_max(v_load(a->slot[2] + i), v);
            v_store(a->slot[2] + i, v);
        }
        const v_f32 move = v_flush(v_div(m, v_add(v_sqrt(v), epsilon)));
        v_store(a->w + i, v_flush(v_fnma(rate, move, w)));
    }
}

/* On a copy that no store can be of: its numbers stay in registers. */
static void train_update(const lstmc_update_args *args) {
    const lstmc_update_args all = *args, *const a = &all;
    switch (a->kind) {
    case LSTMC_OPTIMIZER_RMSPROP: update_rmsprop(a); break;
    case LSTMC_OPTIMIZER_ADAM:
        if (a->slot[2]) {
            update_adam(a, 1);
        } else {
            update_adam(a, 0);
        }
        break;
    default:
        if (a->slot[0]) {
            update_momentum(a);
        } else {
            update_sgd(a);
        }
        break;
    }
}

/* sums[l] = the sum of x[r][l]^2 for r ascending; what is below 2^-50 has no square. */
static void train_squares(const float *x, size_t rows, uint32_t width, float *sums) {
    for (uint32_t l = 0; l < width; l += V_WIDTH) {
        v_f32 sum = v_set1(0.0f);
        for (size_t r = 0; r < rows; r++) {
            const v_f32 g = v_load(x + r * width + l);
            const v_f32 real = v_if_lt(v_abs(g), v_set1(0x1p-50f), v_set1(0.0f), g);
            sum = v_fma(real, real, sum);
        }
        v_store(sums + l, sum);
    }
}
