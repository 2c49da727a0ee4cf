/* What sweep.c compares with: every function in double, by libm, good to a few of double's ULPs. */
static double exact_sigmoid(double x) {
    /* No cancellation: both terms are positive, so double loses about one of its own ULPs. */
    return 1.0 / (1.0 + exp(-x));
}
static double exact_flush(double x) { return fabs(x) < 0x1p-64 ? 0.0 : x; }
static double exact_elu(double a, double x) { return x >= 0.0 || isnan(x) ? x : a * expm1(x); }
static double exact_softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }
static double exact_zero(double x) { return isnan(x) ? x : 0.0; }

/* 0 times infinity is 0 where a limit says so. */
static double exact_times(double x, double y) { return x == 0.0 || y == 0.0 ? 0.0 : x * y; }

/* By the series where the difference cancels. */
static double exact_tanh_shrink(double x) {
    const double z = x * x;
    if (fabs(x) > 0.1) return x - tanh(x);
    return x * z *
           (1 / 3.0 -
            z * (2 / 15.0 -
                 z * (17 / 315.0 - z * (62 / 2835.0 - z * (1382 / 155925.0 -
                                                           z * (21844 / 6081075.0 -
                                                                z * (929569 / 638512875.0)))))));
}

static double exact_gelu_tanh(double x) {
    const double u = sqrt(8.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
    return exact_times(x, exact_sigmoid(u));
}

static double exact_mish(double x) {
    /* For large x tanh is 1; below, log1p(exp(x)) has full relative accuracy. */
    return exact_times(x, tanh(exact_softplus(x)));
}

static double exact_squareplus(double b, double x) {
    const double y = hypot(x, sqrt(b));
    if (isinf(x)) return x > 0.0 ? x : 0.0;
    return x < 0.0 ? b / 2 / (y - x) : (x + y) / 2;
}

static double exact_clamp(double x) { return isnan(x) ? x : fmax(0.0, fmin(1.0, x)); }

/* Subnormal numbers count as zero. */
static double exact_seen(double x) {
    return fabs((double)(float)x) < 0x1p-126 ? copysign(0.0, x) : x;
}

static double exact_activation(const lstmc_fn *fn, double x) {
    const double a = (double)fn->alpha, b = (double)fn->beta;
    if (fn->kind >= LSTMC_FN_AFFINE && fn->kind < LSTMC_FN_SIGN) x = exact_seen(x);
    switch (fn->kind) {
    case LSTMC_FN_SIGMOID: return exact_sigmoid(x);
    case LSTMC_FN_TANH: return tanh(x);
    case LSTMC_FN_RELU: return isnan(x) ? x : fmax(x, 0.0);
    case LSTMC_FN_HARD_SIGMOID: return exact_clamp(a * x + b);
    case LSTMC_FN_EXPONENTIAL: return exp(x);
    case LSTMC_FN_AFFINE: return exact_times(a, x) + b;
    case LSTMC_FN_LEAKY_RELU: return x > b ? x : exact_times(a, x - b);
    case LSTMC_FN_THRESHOLDED_RELU: return x > a ? x : exact_zero(x);
    case LSTMC_FN_SCALED_TANH: return a * tanh(exact_seen(exact_times(b, x)));
    case LSTMC_FN_ELU: return exact_elu(a, x);
    case LSTMC_FN_SOFTSIGN: return isinf(x) ? copysign(1.0, x) : x / (1.0 + fabs(x));
    case LSTMC_FN_SOFTPLUS: return exact_softplus(x);
    case LSTMC_FN_SELU: return b * exact_elu(a, x);
    case LSTMC_FN_GELU: return exact_times(x, erfc(x * -0.70710678118654752440) / 2);
    case LSTMC_FN_GELU_TANH: return exact_gelu_tanh(x);
    case LSTMC_FN_SILU: return exact_times(x, exact_sigmoid(exact_times(a, x)));
    case LSTMC_FN_MISH: return exact_mish(x);
    case LSTMC_FN_HARD_SILU: return exact_times(x, exact_clamp(exact_times(a, x) + b));
    case LSTMC_FN_LOG_SIGMOID: return -exact_softplus(-x);
    case LSTMC_FN_CELU: return exact_elu(a, x < 0.0 ? x / a : x);
    case LSTMC_FN_TANH_SHRINK: return exact_tanh_shrink(x);
    case LSTMC_FN_SOFT_SHRINK: return fabs(x) > a ? copysign(fabs(x) - a, x) : exact_zero(x);
    case LSTMC_FN_HARD_SHRINK: return fabs(x) > a ? x : exact_zero(x);
    case LSTMC_FN_SQUAREPLUS: return exact_squareplus(a, x);
    case LSTMC_FN_SPARSE_PLUS: return x >= 1.0 ? x : x <= -1.0 ? 0.0 : (x + 1.0) * (x + 1.0) / 4.0;
    case LSTMC_FN_SPARSE_SIGMOID: return exact_clamp((x + 1.0) / 2.0);
    case LSTMC_FN_CLIP: return isnan(x) ? x : fmin(b, fmax(a, x));
    case LSTMC_FN_ABS: return fabs(x);
    case LSTMC_FN_SQRT: return sqrt(x);
    case LSTMC_FN_SQUARE: return x * x;
    case LSTMC_FN_RECIPROCAL: return 1.0 / x;
    case LSTMC_FN_LOG: return log(x);
    case LSTMC_FN_ERF: return erf(x);
    case LSTMC_FN_SIGN: return isnan(x) ? x : (double)(x > 0.0) - (double)(x < 0.0);
    case LSTMC_FN_NOT_EQUAL: return x != a ? 1.0 : 0.0;
    default: return x;
    }
}

/* "name", "name,alpha", "name,alpha,beta" */
static int parse_activation(const char *text, lstmc_fn *fn) {
    static const char *const names[LSTMC_FN_COUNT] = {
        "linear",      "sigmoid",      "tanh",
        "relu",        "hard_sigmoid", "exponential",
        "affine",      "leaky_relu",   "thresholded_relu",
        "scaled_tanh", "elu",          "softsign",
        "softplus",    "selu",         "gelu",
        "gelu_tanh",   "silu",         "mish",
        "hard_silu",   "log_sigmoid",  "celu",
        "tanh_shrink", "soft_shrink",  "hard_shrink",
        "squareplus",  "sparse_plus",  "sparse_sigmoid",
        "clip",        "abs",          "sqrt",
        "square",      "reciprocal",   "log",
        "erf",         "sign",         "not_equal"};
    const size_t length = strcspn(text, ",");
    char *end;
    for (fn->kind = 0; fn->kind < LSTMC_FN_COUNT; fn->kind++) {
        const char *name = names[fn->kind];
        if (strlen(name) == length && strncmp(name, text, length) == 0) break;
    }
    if (text[length]) {
        fn->alpha = strtof(text + length + 1, &end);
        if (*end == ',') fn->beta = strtof(end + 1, &end);
    }
    return fn->kind < LSTMC_FN_COUNT;
}
