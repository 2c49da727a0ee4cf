/* Derivatives of the elementwise functions. Included by train_algorithms.h. */

/* fn'(x) from y = fn(x), of quick functions. No addition takes a product: 1 - y * y is fnma. */
V_INLINE v_f32 quick_slope(const lstmc_fn *fn, v_f32 y) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f);
    switch (fn->kind) {
    case LSTMC_FN_SIGMOID: return v_fnma(y, y, y);
    case LSTMC_FN_TANH: return v_fnma(y, y, one);
    case LSTMC_FN_RELU: return v_if_lt(zero, y, one, zero);
    case LSTMC_FN_HARD_SIGMOID:
        return v_if_lt(zero, y, v_if_lt(y, one, v_set1(fn->alpha), zero), zero);
    case LSTMC_FN_EXPONENTIAL: return y;
    default: return one;
    }
}

static void train_map_back(const lstmc_fn *fn, const float *x, const float *y, const float *dy,
                           float *dx, size_t n) {
    (void)x;
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 slope = quick_slope(fn, row_load(y + i, left));
        row_store(dx + i, v_flush(v_mul(row_load(dy + i, left), slope)), left);
    }
}
