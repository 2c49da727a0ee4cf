/* The loss of one vector, and its gradient: lstmc_loss_args. Included by train_algorithms.h.
 *
 * Terms and gradients are made in vectors; the sums over features are one chain each, ascending, on one lane:
 * sum = fma(p[i], q[i], sum), so that no addition takes a product. A difference below 2^-64 in magnitude
 * counts as 0, and one below 2^-50 has no square. */

/* Keras's epsilon: probabilities are clipped to it, and to 1 minus it, as floats. */
#define LOSS_EPSILON 1e-7f
#define LOSS_BELOW_1 0x1.fffffcp-1f

/* The chain over the lanes that are features. */
V_INLINE float loss_chain(v_f32 p, v_f32 q, size_t left, float sum) {
    float a[V_WIDTH], b[V_WIDTH];
    v_store(a, p);
    v_store(b, q);
    for (size_t i = 0; i < V_WIDTH && i < left; i++) sum = lstmc_fmaf(a[i], b[i], sum);
    return sum;
}

/* dy = flush(dy + by d) */
V_INLINE void loss_gradient(float *dy, size_t left, float by, v_f32 d) {
    row_store(dy, v_flush(v_fma(v_set1(by), d, row_load(dy, left))), left);
}

/* 1, -1, or 0 with whatever sign; NaN stays. */
V_INLINE v_f32 loss_sign(v_f32 e) {
    const v_f32 zero = v_set1(0.0f);
    return v_if_lt(zero, e, v_set1(1.0f), v_if_lt(e, zero, v_set1(-1.0f), e));
}

/* flush(t (1 - s) + s / classes) */
V_INLINE v_f32 loss_truth(const lstmc_loss_args *a, size_t i, float share) {
    const v_f32 t = row_load(a->truth + i, a->n - i);
    return v_flush(v_fma(t, v_set1(1.0f - a->smoothing), v_set1(share)));
}

/* log(1 - y), where 1 - y has been rounded: what that lost comes back. */
V_INLINE v_f32 loss_log_rest(v_f32 y) {
    const v_f32 one = v_set1(1.0f), rest = v_sub(one, y);
    const v_f32 lost = v_sub(v_sub(one, rest), y);
    return v_add(v_log(rest), v_div(lost, rest));
}

V_INLINE v_f32 loss_clip(v_f32 y) {
    return v_max(v_set1(LOSS_EPSILON), v_min(v_set1(LOSS_BELOW_1), y));
}

/* d where y has not been clipped, else 0; NaN is not clipped. */
V_INLINE v_f32 loss_unclipped(v_f32 y, v_f32 d) {
    const v_f32 zero = v_set1(0.0f);
    const v_f32 inside = v_if_lt(v_set1(LOSS_BELOW_1), y, zero, d);
    return v_if_lt(y, v_set1(LOSS_EPSILON), zero, inside);
}

/* -------------------------------------------------------------------------------- of differences -- */

/* Of mse, mae and huber the loss is the mean of p q; d is the derivative. */
V_INLINE void loss_difference(const lstmc_loss_args *a, v_f32 e, v_f32 *p, v_f32 *q, v_f32 *d) {
    const v_f32 size = v_abs(e), delta = v_set1(a->delta), half = v_set1(0.5f);
    const v_f32 square = v_if_lt(size, v_set1(0x1p-50f), v_set1(0.0f), size);
    switch (a->kind) {
    case LSTMC_LOSS_MSE:
        *p = *q = square;
        *d = v_add(e, e);
        break;
    case LSTMC_LOSS_MAE:
        *p = v_set1(1.0f);
        *q = size;
        *d = loss_sign(e);
        break;
    default: /* huber */
        *p = v_if_lt(delta, size, delta, v_mul(half, square));
        *q = v_if_lt(delta, size, v_fnma(half, delta, size), square);
        *d = v_if_lt(delta, size, v_xorsign(delta, e), e);
        break;
    }
}

V_INLINE float loss_differences(const lstmc_loss_args *a) {
    float sum = 0.0f;
    const float by = lstmc_flush(a->scale / (float)a->n);
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t left = a->n - i;
        const v_f32 e = v_flush(v_sub(row_load(a->y + i, left), row_load(a->truth + i, left)));
        v_f32 p, q, d;
        loss_difference(a, e, &p, &q, &d);
        sum = loss_chain(p, q, left, sum);
        if (a->dy) loss_gradient(a->dy + i, left, by, d);
    }
    return sum / (float)a->n;
}

/* ---------------------------------------------------------------------------------------- binary -- */

static float loss_binary(const lstmc_loss_args *a) {
    float sum = 0.0f;
    const float by = lstmc_flush(a->scale / (float)a->n), share = 0.5f * a->smoothing;
    const v_f32 one = v_set1(1.0f);
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t left = a->n - i;
        const v_f32 given = row_load(a->y + i, left), t = loss_truth(a, i, share);
        const v_f32 y = loss_clip(given), rest = v_sub(one, t);
        const v_f32 term = v_fma(t, v_log(y), v_mul(rest, loss_log_rest(y)));
        sum = loss_chain(v_set1(-1.0f), term, left, sum);
        if (!a->dy) continue;
        const v_f32 d = v_div(v_flush(v_sub(y, t)), v_mul(y, v_sub(one, y)));
        loss_gradient(a->dy + i, left, by, loss_unclipped(given, d));
    }
    return sum / (float)a->n;
}

/* max(z, 0) - t z + log(1 + e^-|z|): nothing cancels where t is 0 or 1. */
static float loss_binary_logits(const lstmc_loss_args *a) {
    float sum = 0.0f;
    const float by = lstmc_flush(a->scale / (float)a->n), share = 0.5f * a->smoothing;
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t left = a->n - i;
        const v_f32 z = row_load(a->y + i, left), t = loss_truth(a, i, share);
        const v_f32 line = v_fnma(t, z, v_max(v_set1(0.0f), z));
        const v_f32 term = v_add(line, v_softplus(v_neg(v_abs(z))));
        sum = loss_chain(v_set1(1.0f), term, left, sum);
        if (a->dy) loss_gradient(a->dy + i, left, by, v_sub(v_sigmoid(z), t));
    }
    return sum / (float)a->n;
}

/* ----------------------------------------------------------------------------------- categorical -- */

/* p = y / sum of y. With u the sum of those t whose p is not clipped, the derivative is
 * (u - t / p) / sum where it is not, and u / sum where it is. */
V_INLINE v_f32 loss_part(const lstmc_loss_args *a, size_t i, float total) {
    return v_div(row_load(a->y + i, a->n - i), v_set1(total));
}

static float loss_total(const float *y, size_t n) {
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum += y[i];
    return sum;
}

static float loss_categorical(const lstmc_loss_args *a) {
    const float total = loss_total(a->y, a->n), share = a->smoothing / (float)a->n;
    const float by = lstmc_flush(a->scale);
    const v_f32 one = v_set1(1.0f);
    float sum = 0.0f, unclipped = 0.0f;
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t left = a->n - i;
        const v_f32 p = loss_part(a, i, total), t = loss_truth(a, i, share);
        sum = loss_chain(v_neg(t), v_log(loss_clip(p)), left, sum);
        unclipped = loss_chain(one, loss_unclipped(p, t), left, unclipped);
    }
    for (size_t i = 0; a->dy && i < a->n; i += V_WIDTH) {
        const v_f32 p = loss_part(a, i, total), t = loss_truth(a, i, share);
        const v_f32 own = loss_unclipped(p, v_div(t, loss_clip(p)));
        const v_f32 d = v_div(v_sub(v_set1(unclipped), own), v_set1(total));
        loss_gradient(a->dy + i, a->n - i, by, d);
    }
    return sum;
}

/* e^(z - max): the largest z, and the sum over all. */
static float loss_exponentials(const lstmc_loss_args *a, float *top) {
    float max = a->y[0], sum = 0.0f;
    for (size_t i = 1; i < a->n; i++) max = max < a->y[i] ? a->y[i] : max;
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t left = a->n - i;
        const v_f32 e = v_exp(v_sub(row_load(a->y + i, left), v_set1(max)));
        sum = loss_chain(v_set1(1.0f), e, left, sum);
    }
    *top = max;
    return sum;
}

V_INLINE v_f32 loss_softmax(const lstmc_loss_args *a, size_t i, float top, float total) {
    const v_f32 z = v_sub(row_load(a->y + i, a->n - i), v_set1(top));
    return v_flush(v_div(v_exp(z), v_set1(total)));
}

/* The derivative is softmax(z) times the sum of t, less t. */
static float loss_categorical_logits(const lstmc_loss_args *a) {
    float top, sum = 0.0f, truths = 0.0f;
    const float total = loss_exponentials(a, &top), share = a->smoothing / (float)a->n;
    const float by = lstmc_flush(a->scale);
    const v_f32 log = v_log(v_set1(total));
    for (size_t i = 0; i < a->n; i += V_WIDTH) {
        const size_t left = a->n - i;
        const v_f32 t = loss_truth(a, i, share);
        const v_f32 z = v_sub(v_sub(row_load(a->y + i, left), v_set1(top)), log);
        sum = loss_chain(v_neg(t), z, left, sum);
        truths = loss_chain(v_set1(1.0f), t, left, truths);
    }
    for (size_t i = 0; a->dy && i < a->n; i += V_WIDTH) {
        const v_f32 t = loss_truth(a, i, share);
        const v_f32 d = v_fma(loss_softmax(a, i, top, total), v_set1(truths), v_neg(t));
        loss_gradient(a->dy + i, a->n - i, by, d);
    }
    return sum;
}

/* One float through a function of vectors. */
V_INLINE float loss_first(v_f32 v) {
    float all[V_WIDTH];
    v_store(all, v);
    return all[0];
}

/* As with a 1 among zeros, to the bit, but for what 0 times infinity would be. */
static float loss_sparse(const lstmc_loss_args *a) {
    const float by = lstmc_flush(a->scale);
    const size_t index = (size_t)*a->truth;
    if (a->from_logits) {
        float top;
        const float total = loss_exponentials(a, &top);
        const v_f32 own = v_set1(a->y[index] - top);
        for (size_t i = 0; a->dy && i < a->n; i += V_WIDTH) {
            v_f32 d = loss_softmax(a, i, top, total);
            float lanes[V_WIDTH];
            v_store(lanes, d);
            if (index >= i && index - i < V_WIDTH) lanes[index - i] -= 1.0f;
            loss_gradient(a->dy + i, a->n - i, by, v_load(lanes));
        }
        return loss_first(v_sub(v_log(v_set1(total)), own));
    }
    const float total = loss_total(a->y, a->n);
    const v_f32 p = v_div(v_set1(a->y[index]), v_set1(total)), clipped = loss_clip(p);
    const v_f32 sum = v_set1(total), unclipped = loss_unclipped(p, v_set1(1.0f));
    const v_f32 all = v_div(unclipped, sum);
    const v_f32 own = loss_unclipped(p, v_div(v_set1(1.0f), clipped));
    const float at = loss_first(v_div(v_sub(unclipped, own), sum));
    for (size_t i = 0; a->dy && i < a->n; i += V_WIDTH) {
        float lanes[V_WIDTH];
        v_store(lanes, all);
        if (index >= i && index - i < V_WIDTH) lanes[index - i] = at;
        loss_gradient(a->dy + i, a->n - i, by, v_load(lanes));
    }
    return loss_first(v_neg(v_log(clipped)));
}

static float train_loss(const lstmc_loss_args *a) {
    switch (a->kind) {
    case LSTMC_LOSS_BINARY_CROSSENTROPY:
        return a->from_logits ? loss_binary_logits(a) : loss_binary(a);
    case LSTMC_LOSS_CATEGORICAL_CROSSENTROPY:
        return a->from_logits ? loss_categorical_logits(a) : loss_categorical(a);
    case LSTMC_LOSS_SPARSE_CROSSENTROPY: return loss_sparse(a);
    default: return loss_differences(a);
    }
}
