/* Kernels over the steps of a sequence: lanes run over features, each lane takes the steps in
 * ascending order. Included by algorithms.h.
 *
 * What a layer remembers of a sequence is flushed, and so is the same step when it is read again from
 * memory: therefore x is flushed before it is used here, and no bit depends on where calls cut. */

/* One operation for a whole run of steps, so that it is not asked for at each. */
#define REDUCE_LOOP(OPERATION)                                                                     \
    for (uint32_t t = 0; t < a->steps; t++, x += a->stride) {                                      \
        const v_f32 next = v_flush(row_load(x, n));                                                \
        y = v_flush(OPERATION(y, next));                                                           \
    }

static void reduce_steps(const lstmc_reduce_args *a) {
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t n = a->n - i;
        const float *x = a->x + i;
        v_f32 y = row_load(a->y + i, n);
        if (a->op == LSTMC_REDUCE_MAXIMUM) {
            REDUCE_LOOP(v_larger)
        } else if (a->op == LSTMC_REDUCE_MINIMUM) {
            REDUCE_LOOP(v_smaller)
        } else {
            REDUCE_LOOP(v_add)
        }
        row_store(a->y + i, y, n);
    }
}

static void divide(const float *x, float by, float *y, size_t n) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        row_store(y + i, v_flush(v_div(row_load(x + i, n - i), v_set1(by))), n - i);
    }
}

static void softmax_steps(const float *x, size_t x_stride, float *y, size_t y_stride,
                          uint32_t steps, size_t n) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        v_f32 top = row_load(x + i, left), sum = v_set1(0.0f);
        for (uint32_t t = 1; t < steps; t++) {
            top = v_max(top, row_load(x + t * x_stride + i, left));
        }
        for (uint32_t t = 0; t < steps; t++) {
            const v_f32 e = v_exp(v_sub(row_load(x + t * x_stride + i, left), top));
            row_store(y + t * y_stride + i, e, left);
            sum = v_add(sum, e);
        }
        for (uint32_t t = 0; t < steps; t++) {
            float *to = y + t * y_stride + i;
            row_store(to, v_flush(v_div(row_load(to, left), sum)), left);
        }
    }
}

static void depthwise(const lstmc_depthwise_args *a) {
    for (size_t i = 0; i < a->columns; i += V_WIDTH) {
        const float *w = a->w + i / a->panel * a->panel * a->taps + i % a->panel;
        const size_t left = a->columns - i;
        for (uint32_t r = 0; r < a->rows; r++) {
            const float *x = a->x + r * a->x_stride + i;
            v_f32 p = v_load(a->init + i);
            for (uint32_t k = 0; k < a->taps; k++) {
                const v_f32 v = v_flush(row_load(x + k * a->tap_stride, left));
                p = v_fma(v_load(w + (size_t)k * a->panel), v, p);
            }
            row_store(a->y + r * a->y_stride + i, v_flush(v_fn(&a->fn, p)), left);
        }
    }
}
