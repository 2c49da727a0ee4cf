/* Kernels of backward of the layers that work on the features of one row and step, as those of forward are
 * in kernels/pointwise.h: lanes run over features, sums over features are one chain in ascending order.
 * Included by train_algorithms.h. */

/* y[i] = y[i] + x[i] */
static void train_add(const float *x, float *y, size_t n, uint32_t flush) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 sum = v_add(row_load(y + i, left), row_load(x + i, left));
        row_store(y + i, flush ? v_flush(sum) : sum, left);
    }
}

static float train_sum(const float *x, float start, size_t n) {
    for (size_t i = 0; i < n; i++) start += x[i];
    return start;
}

static void train_scatter(const uint32_t *index, const float *x, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[index[i]] += x[i];
}

static void train_softmax_back(uint32_t log, const float *y, const float *dy, float *dx, size_t n) {
    v_f32 sum = v_set1(0.0f); /* one chain, the same in every lane */
    for (size_t i = 0; i < n; i++) {
        sum = v_fma(v_set1(dy[i]), log ? v_set1(1.0f) : v_set1(y[i]), sum);
    }
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 a = row_load(y + i, left), d = row_load(dy + i, left);
        const v_f32 r = log ? v_fnma(v_exp(a), sum, d) : v_mul(a, v_sub(d, sum));
        row_store(dx + i, v_flush(r), left);
    }
}

static void train_affine_back(const lstmc_affine_back_args *a) {
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t left = a->n - i;
        const v_f32 scale = row_load_or(a->scale, i, left, 1.0f), x = row_load(a->x + i, left);
        const v_f32 p = v_fma(scale, x, row_load_or(a->shift, i, left, 0.0f));
        const v_f32 s = train_slope(a->fn, p, row_load(a->y + i, left));
        const v_f32 dp = v_flush(v_mul(row_load(a->dy + i, left), s));
        if (a->dx) row_store(a->dx + i, v_flush(v_mul(dp, scale)), left);
        if (a->dscale) {
            row_store(a->dscale + i, v_fma(dp, x, row_load(a->dscale + i, left)), left);
        }
        if (a->dshift) row_store(a->dshift + i, v_add(row_load(a->dshift + i, left), dp), left);
    }
}

static void train_layer_norm_back(const lstmc_norm_back_args *a) {
    const size_t n = a->n;
    const float *x = a->x;
    const v_f32 root = row_deviation(&x, a->work, n, a->epsilon, a->rms);
    for (size_t i = 0; i < n; i += V_WIDTH) { /* x hat; and the gradients of scale and shift */
        const size_t left = n - i;
        const v_f32 hat = v_flush(v_div(row_load(x + i, left), root)),
                    d = row_load(a->dy + i, left);
        row_store(a->work + i, hat, left);
        if (a->dscale) {
            row_store(a->dscale + i, v_fma(d, hat, row_load(a->dscale + i, left)), left);
        }
        if (a->dshift) row_store(a->dshift + i, v_add(row_load(a->dshift + i, left), d), left);
    }
    if (!a->dx) return;
    v_f32 sum = v_set1(0.0f), along = v_set1(0.0f); /* chains, the same in every lane */
    for (size_t i = 0; i < n; i++) {
        const v_f32 scale = v_set1(a->scale ? a->scale[i] : 1.0f);
        const v_f32 g = v_flush(v_mul(v_set1(a->dy[i]), scale));
        if (!a->rms) sum = v_add(sum, g);
        along = v_fma(g, v_set1(a->work[i]), along);
    }
    const v_f32 count = v_set1((float)n), mean = v_div(sum, count);
    along = v_div(along, count);
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 scale = row_load_or(a->scale, i, left, 1.0f);
        const v_f32 g = v_sub(v_flush(v_mul(row_load(a->dy + i, left), scale)), mean);
        const v_f32 r = v_fnma(row_load(a->work + i, left), along, g);
        row_store(a->dx + i, v_flush(v_div(r, root)), left);
    }
}

/* d where a is larger, nothing where b is; half of it otherwise. What counts as 0 to forward does here. */
V_INLINE v_f32 v_share(v_f32 a, v_f32 b, v_f32 d) {
    const v_f32 p = v_flush(a), q = v_flush(b);
    return v_if_lt(p, q, v_set1(0.0f), v_if_lt(q, p, d, v_mul(v_set1(0.5f), d)));
}

V_INLINE void combine_back_all(const lstmc_combine_back_args *a, uint32_t op) {
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t left = a->n - i;
        const v_f32 p = a->spread & LSTMC_SPREAD_A ? v_set1(*a->p) : row_load(a->p + i, left);
        const v_f32 q = a->spread & LSTMC_SPREAD_B ? v_set1(*a->q) : row_load(a->q + i, left);
        const v_f32 d = row_load(a->d + i, left);
        v_f32 dp = d, dq = d;
        switch (op) {
        case LSTMC_COMBINE_SUBTRACT: dq = v_neg(d); break;
        case LSTMC_COMBINE_MULTIPLY:
            dp = v_mul(d, q);
            dq = v_mul(d, p);
            break;
        case LSTMC_COMBINE_DIVIDE:
            dp = v_div(d, q);
            dq = v_neg(v_mul(dp, row_load(a->r + i, left)));
            break;
        case LSTMC_COMBINE_MAXIMUM:
            dp = v_share(p, q, d);
            dq = v_share(q, p, d);
            break;
        case LSTMC_COMBINE_MINIMUM:
            dp = v_share(q, p, d);
            dq = v_share(p, q, d);
            break;
        default: break;
        }
        if (a->dq) row_store(a->dq + i, v_flush(dq), left);
        row_store(a->dp + i, v_flush(dp), left);
    }
}

#define COMBINE_BACK(OP)                                                                           \
    case OP: combine_back_all(args, OP); break;

static void train_combine_back(const lstmc_combine_back_args *args) {
    switch (args->op) {
        COMBINE_BACK(LSTMC_COMBINE_ADD)
        COMBINE_BACK(LSTMC_COMBINE_SUBTRACT)
        COMBINE_BACK(LSTMC_COMBINE_MULTIPLY)
        COMBINE_BACK(LSTMC_COMBINE_DIVIDE)
        COMBINE_BACK(LSTMC_COMBINE_MAXIMUM)
        COMBINE_BACK(LSTMC_COMBINE_MINIMUM)
    default: break;
    }
}

/* The extreme of x, NaN if one is; x counts as in v_share. *count gets how often it is there. */
static float extreme_of(uint32_t op, const float *x, size_t n, float *count) {
    float top = lstmc_flush(x[0]);
    *count = 1.0f;
    for (size_t i = 1; i < n; i++) {
        const float a = lstmc_flush(x[i]);
        if (op == LSTMC_REDUCE_MAXIMUM ? a > top : a < top) {
            top = a;
            *count = 1.0f;
        } else if (a == top) {
            *count += 1.0f;
        } else if (a != a) {
            top = a;
        }
    }
    return top;
}

static void train_reduce_back(uint32_t op, const float *x, float dy, float *dx, size_t n) {
    const v_f32 zero = v_set1(0.0f);
    float top = 0.0f, share = dy, count;
    if (op == LSTMC_REDUCE_MEAN) share = dy / (float)n;
    if (op == LSTMC_REDUCE_MAXIMUM || op == LSTMC_REDUCE_MINIMUM) {
        top = extreme_of(op, x, n, &count);
        share = top != top ? top : dy / count;
    }
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const v_f32 a = v_flush(row_load(x + i, n - i));
        v_f32 r = v_set1(share);
        if (op == LSTMC_REDUCE_MAXIMUM) r = v_if_lt(a, v_set1(top), zero, r);
        if (op == LSTMC_REDUCE_MINIMUM) r = v_if_lt(v_set1(top), a, zero, r);
        row_store(dx + i, v_flush(r), n - i);
    }
}
