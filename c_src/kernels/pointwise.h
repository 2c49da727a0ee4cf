/* Kernels of the layers that work on the features of one row and step. Included by algorithms.h.
 *
 * Lanes run over features. Sums over features are one chain in ascending order, on one lane. Where
 * something is added to what may end in a product, fma does it: there is nothing to contract. */

/* ------------------------------------------------------------------------------------ single -- */

#define MAP_LOOP(FUNCTION)                                                                         \
    for (size_t i = 0; i < n; i += V_WIDTH) {                                                      \
        const v_f32 a = row_load(x + i, n - i), r = FUNCTION;                                      \
        row_store(y + i, flush ? v_flush(r) : r, n - i);                                           \
    }

static void map(const lstmc_fn *fn, uint32_t flush, const float *x, float *y, size_t n) {
    switch (fn->kind) {
    case LSTMC_FN_LINEAR: MAP_LOOP(a) break;
    case LSTMC_FN_SIGMOID: MAP_LOOP(V_HOT(v_sigmoid)(a)) break;
    case LSTMC_FN_TANH: MAP_LOOP(V_HOT(v_tanh)(a)) break;
    default: MAP_LOOP(v_fn(fn, a)) break;
    }
}

/* ----------------------------------------------------------------------------------- softmax -- */

/* exp(x - max) into y, and their sum. */
static float softmax_terms(const float *x, float *y, size_t n, float *top) {
    float max = x[0];
    for (size_t i = 1; i < n; i++) max = max < x[i] ? x[i] : max;
    *top = max;
    for (size_t i = 0; i < n; i += V_WIDTH) {
        row_store(y + i, v_exp(v_sub(row_load(x + i, n - i), v_set1(max))), n - i);
    }
    return row_sum(y, n);
}

static void softmax(uint32_t log, const float *x, float *y, size_t n) {
    float top;
    const float sum = softmax_terms(x, y, n, &top);
    const v_f32 max = v_set1(top), total = v_set1(sum), all = log ? v_log(total) : total;
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 r =
            log ? v_sub(v_sub(row_load(x + i, left), max), all) : v_div(row_load(y + i, left), all);
        row_store(y + i, v_flush(r), left);
    }
}

/* ------------------------------------------------------------------------------------- norms -- */

static void affine(const lstmc_fn *fn, const float *scale, const float *shift, const float *x,
                   float *y, size_t n) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 a = row_load_or(scale, i, left, 1.0f), b = row_load_or(shift, i, left, 0.0f);
        row_store(y + i, v_flush(v_fn(fn, v_fma(a, row_load(x + i, left), b))), left);
    }
}

static void layer_norm(const lstmc_norm_args *a) {
    const size_t n = a->n;
    const float *d = a->x;
    const v_f32 root = row_deviation(&d, a->y, n, a->epsilon, a->rms);
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 y = v_div(row_load(d + i, left), root);
        const v_f32 s = row_load_or(a->scale, i, left, 1.0f);
        row_store(a->y + i, v_flush(v_fma(y, s, row_load_or(a->shift, i, left, 0.0f))), left);
    }
}

/* ---------------------------------------------------------------------------- combine, reduce -- */

/* The one that is larger, NaN if either is: v_max alone would lose a NaN in a. No fma: chips without
 * one take maxima over time. */
V_INLINE v_f32 v_larger(v_f32 a, v_f32 b) {
    return v_if_lt(a, v_set1(INFINITY), v_max(a, b), v_add(a, v_max(v_set1(0.0f), b)));
}

V_INLINE v_f32 v_smaller(v_f32 a, v_f32 b) {
    return v_if_lt(v_set1(-INFINITY), a, v_min(a, b), v_add(a, v_min(v_set1(0.0f), b)));
}

V_INLINE void combine_all(uint32_t op, const float *a, const float *b, uint32_t spread, float *y,
                          size_t n) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 p = spread & LSTMC_SPREAD_A ? v_set1(*a) : row_load(a + i, left);
        const v_f32 q = spread & LSTMC_SPREAD_B ? v_set1(*b) : row_load(b + i, left);
        v_f32 r = q;
        switch (op) {
        case LSTMC_COMBINE_ADD: r = v_add(p, q); break;
        case LSTMC_COMBINE_SUBTRACT: r = v_sub(p, q); break;
        case LSTMC_COMBINE_MULTIPLY: r = v_mul(p, q); break;
        case LSTMC_COMBINE_DIVIDE: r = v_div(p, q); break;
        case LSTMC_COMBINE_MAXIMUM: r = v_larger(p, q); break;
        case LSTMC_COMBINE_MINIMUM: r = v_smaller(p, q); break;
        default: break;
        }
        row_store(y + i, v_flush(r), left);
    }
}

#define COMBINE(OP)                                                                                \
    case OP: combine_all(OP, a, b, spread, y, n); break;

static void combine(uint32_t op, const float *a, const float *b, uint32_t spread, float *y,
                    size_t n) {
    switch (op) {
        COMBINE(LSTMC_COMBINE_ADD)
        COMBINE(LSTMC_COMBINE_SUBTRACT)
        COMBINE(LSTMC_COMBINE_MULTIPLY)
        COMBINE(LSTMC_COMBINE_DIVIDE)
        COMBINE(LSTMC_COMBINE_MAXIMUM)
        COMBINE(LSTMC_COMBINE_MINIMUM)
    default: break;
    }
}

static float reduce(uint32_t op, const float *x, size_t n) {
    float r = x[0];
    switch (op) {
    case LSTMC_REDUCE_SUM: r = row_sum(x, n); break;
    case LSTMC_REDUCE_MEAN: r = row_sum(x, n) / (float)n; break;
    case LSTMC_REDUCE_MAXIMUM: /* a NaN stays, and one that comes is taken */
        for (size_t i = 1; i < n; i++) r = r != r || x[i] <= r ? r : x[i];
        break;
    case LSTMC_REDUCE_MINIMUM:
        for (size_t i = 1; i < n; i++) r = r != r || x[i] >= r ? r : x[i];
        break;
    default: break;
    }
    return lstmc_flush(r);
}
