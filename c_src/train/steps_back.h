/* Kernels of the training of layers on steps: lanes run over features. Included by train_algorithms.h. */

/* yes where x, flushed, is the largest or smallest, y. A NaN y is every x. */
V_INLINE v_f32 if_extreme(uint32_t op, v_f32 x, v_f32 y, v_f32 yes, v_f32 no) {
    const v_f32 a = v_flush(x);
    return op == LSTMC_REDUCE_MAXIMUM ? v_if_lt(a, y, no, yes) : v_if_lt(y, a, no, yes);
}

static void train_count_extreme(uint32_t op, const float *x, const float *y, float *count,
                                size_t n) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 one = if_extreme(op, row_load(x + i, left), row_load(y + i, left), v_set1(1.0f),
                                     v_set1(0.0f));
        row_store(count + i, v_add(row_load(count + i, left), one), left);
    }
}

static void train_share_extreme(uint32_t op, const float *x, const float *y, const float *share,
                                float *dx, size_t n) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        row_store(dx + i,
                  if_extreme(op, row_load(x + i, left), row_load(y + i, left),
                             row_load(share + i, left), v_set1(0.0f)),
                  left);
    }
}

static void train_take_extreme(uint32_t op, const float *x, const float *y, float *rest, float *dx,
                               size_t n) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 zero = v_set1(0.0f), all = row_load(rest + i, left);
        const v_f32 a = row_load(x + i, left), b = row_load(y + i, left);
        const v_f32 mine = if_extreme(op, a, b, all, zero);
        row_store(dx + i, v_flush(v_add(row_load(dx + i, left), mine)), left);
        row_store(rest + i, if_extreme(op, a, b, zero, all), left);
    }
}

static void train_softmax_steps_back(const float *y, size_t y_stride, const float *dy,
                                     size_t dy_stride, float *dx, size_t dx_stride, uint32_t steps,
                                     size_t n) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        v_f32 sum = v_set1(0.0f);
        for (uint32_t t = steps; t-- > 0;) {
            sum = v_fma(row_load(dy + t * dy_stride + i, left),
                        row_load(y + t * y_stride + i, left), sum);
        }
        for (uint32_t t = 0; t < steps; t++) {
            const v_f32 d = v_sub(row_load(dy + t * dy_stride + i, left), sum);
            row_store(dx + t * dx_stride + i,
                      v_flush(v_mul(row_load(y + t * y_stride + i, left), d)), left);
        }
    }
}

static void train_dots(const lstmc_dots_args *d) {
    for (size_t i = 0; i < d->n; i += V_WIDTH) {
        const size_t left = d->n - i;
        v_f32 p = d->zero ? v_set1(0.0f) : row_load(d->c + i, left);
        for (uint32_t turn = 0; turn < d->blocks; turn++) {
            const float *a = d->a + (ptrdiff_t)turn * d->a_block + i;
            const float *b = d->b + (ptrdiff_t)turn * d->b_block + i;
            for (uint32_t r = 0; r < d->count; r++) {
                p = v_fma(row_load(a + (ptrdiff_t)r * d->a_step, left),
                          row_load(b + (ptrdiff_t)r * d->b_step, left), p);
            }
        }
        row_store(d->c + i, d->flush ? v_flush(p) : p, left);
    }
}
