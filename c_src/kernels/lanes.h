/* A row of numbers, vector by vector, and what is summed over one. Included by algorithms.h. */

/* The features from one on, `left` of them: a whole vector, or the first lanes of the last one. */
V_INLINE v_f32 row_load(const float *p, size_t left) {
    return left >= V_WIDTH ? v_load(p) : v_load_n(p, left);
}

V_INLINE void row_store(float *p, v_f32 a, size_t left) {
    if (left >= V_WIDTH) {
        v_store(p, a);
    } else {
        v_store_n(p, a, left);
    }
}

V_INLINE v_f32 row_load_or(const float *p, size_t i, size_t left, float otherwise) {
    return p ? row_load(p + i, left) : v_set1(otherwise);
}

static float row_sum(const float *x, size_t n) {
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

/* y = x - mean x */
static void row_centre(const float *x, float *y, size_t n) {
    const v_f32 mean = v_set1(row_sum(x, n) / (float)n);
    for (size_t i = 0; i < n; i += V_WIDTH) {
        row_store(y + i, v_sub(row_load(x + i, n - i), mean), n - i);
    }
}

/* sqrt(variance + epsilon) of x, the same in every lane. x becomes y, which gets x - mean; with rms mean
 * is 0, and x stays.
 *
 * Centred twice: the first mean's own rounding error, which is large where the mean is far from
 * zero, is the mean of what it leaves. A difference below 2^-50 counts as 0 in the variance, so that
 * no square is subnormal. */
static v_f32 row_deviation(const float **x, float *y, size_t n, float epsilon, uint32_t rms) {
    if (!rms) {
        row_centre(*x, y, n);
        row_centre(y, y, n);
        *x = y;
    }
    v_f32 squares = v_set1(0.0f); /* one chain */
    for (size_t i = 0; i < n; i++) {
        const v_f32 all = v_set1((*x)[i]);
        const v_f32 part = v_if_lt(v_abs(all), v_set1(0x1p-50f), v_set1(0.0f), all);
        squares = v_fma(part, part, squares);
    }
    return v_sqrt(v_add(v_div(squares, v_set1((float)n)), v_set1(epsilon)));
}
