/* A row of numbers, vector by vector. Included by algorithms.h. */

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
