/* Every kernel of every target against plain loops, bit for bit, timed in the same run.
 *
 *     cc -std=c99 -O2 -Ic_src tests/c/check_kernels.c c_src/kernels/x.c ... -o check_kernels
 *     ./check_kernels [--cases N] [--seed N] [--only KERNEL] [--target NAME] [--case N] [--bench]
 *
 * A case draws sizes, strides, options and numbers; then the plain loops, the scalar kernel and that
 * of each target run on copies of its arrays. Arrays lie beside memory that faults. All bits of all
 * copies must be the same, NaNs being equal, gaps between rows among them.
 *
 * A line tells a kernel on a target: cases, nanoseconds a call, how many times as fast as scalar in
 * the same cases. The time says little but with --bench, which draws tame numbers and repeats each
 * call. The exit status is 1 at the first difference or fault, with what repeats it; 2 for bad use. */
#define _DEFAULT_SOURCE /* mmap's anonymous memory, clock_gettime */
#define _DARWIN_C_SOURCE

#include "check.h"
#include "check_cells.h"
#include "check_products.h"
#include "check_rows.h"

#define CHECK(name)                                                                                \
    { #name, draw_##name, call_##name, plain_##name }

#define plain_lstm_row plain_fused
#define plain_lstm_rows plain_fused
#define plain_gru_row plain_fused
#define plain_gru_rows plain_fused

static const check checks[] = {
    CHECK(lstm_row),  CHECK(lstm_rows),     CHECK(gru_row),   CHECK(gru_rows), CHECK(matmul),
    CHECK(lstm_cell), CHECK(gru_cell),      CHECK(rnn_cell),  CHECK(map),      CHECK(softmax),
    CHECK(affine),    CHECK(layer_norm),    CHECK(combine),   CHECK(reduce),   CHECK(reduce_steps),
    CHECK(divide),    CHECK(softmax_steps), CHECK(depthwise),
};
#define CHECKS (sizeof checks / sizeof *checks)

/* A kernel that comes to the table must come here too. */
typedef char every_kernel_is_checked[sizeof(lstmc_kernels) ==
                                             offsetof(lstmc_kernels, lstm_row) +
                                                 CHECKS * sizeof(void (*)(const lstmc_step_args *))
                                         ? 1
                                         : -1];

#define BENCH_CALLS 100
#define BENCH_TURNS 5

/* Of one kernel on one target. */
typedef struct tally {
    unsigned long calls;
    double time, scalar_time; /* in the same cases */
} tally;

static struct {
    unsigned long cases, seed, first;
    const char *only, *target;
    int one, bench;
} options = {1000, 1, 0, NULL, NULL, 0, 0};

/* What runs now, for who is told of a fault. */
static const char *running, *running_on;
static unsigned long running_case;

static void tell(const char *what) {
    printf("%s on %s: %s\n  %s\n  repeat it with --seed %lu --only %s --case %lu\n", running,
           running_on, what, sizes, options.seed, running, running_case);
    fflush(stdout);
}

#ifdef CHECK_POSIX
static void fault(int signal_number) {
    (void)signal_number;
    tell("FAULT: touched memory outside its arrays");
    _exit(1);
}

static void catch_faults(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = fault;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
}
#else
static void catch_faults(void) {}
#endif

/* One call that counts, and how long it took; or the best of several turns of further calls. */
static double timed(const check *c, const lstmc_kernels *kernels, int copy) {
    restore(copy);
    double start = now();
    c->call(kernels, copy);
    return now() - start;
}

static double benched(const check *c, const lstmc_kernels *kernels, int copy) {
    double best = 0.0;
    for (int turn = 0; turn < BENCH_TURNS; turn++) {
        const double start = now();
        for (int i = 0; i < BENCH_CALLS; i++) c->call(kernels, copy);
        const double time = (now() - start) / BENCH_CALLS;
        if (!turn || time < best) best = time;
    }
    return best;
}

/* A case on a target; 0 if the bits differ. scalar is the time of the scalar kernel. */
static int run_case(const check *c, lstmc_target target, uint32_t panel, double *scalar, tally *t) {
    const lstmc_kernels *kernels = lstmc_kernels_find(target, panel ? panel : 64);
    if (kernels->target != target) return 1; /* its lanes don't fit */
    const int copy = target == LSTMC_TARGET_SCALAR ? SCALAR : TARGET;
    running_on = lstmc_target_name(target);
    double time = timed(c, kernels, copy);
    if (!same(copy == SCALAR ? PLAIN : SCALAR, copy)) {
        tell(copy == SCALAR ? "DIFFERS from plain loops" : "DIFFERS from scalar");
        return 0;
    }
    if (options.bench) time = benched(c, kernels, copy);
    if (copy == SCALAR) *scalar = time;
    t->calls++;
    t->time += time;
    t->scalar_time += *scalar;
    if (options.bench && copy == SCALAR) { /* what the others are compared with */
        restore(copy);
        c->call(kernels, copy);
    }
    return 1;
}

static int wanted(lstmc_target target) {
    if (!lstmc_target_available(target)) return 0;
    return target == LSTMC_TARGET_SCALAR || !options.target ||
           strcmp(options.target, lstmc_target_name(target)) == 0;
}

static int run_check(uint32_t index) {
    const check *c = &checks[index];
    tally tallies[LSTMC_TARGET_COUNT];
    memset(tallies, 0, sizeof tallies);
    running = c->name;
    for (unsigned long i = 0; i < options.cases; i++) {
        running_case = options.first + i;
        random_state = (uint64_t)options.seed << 32 ^ (uint64_t)index << 56 ^ running_case;
        (void)random_bits();
        mood = one_in(6) ? HARD : one_in(5) ? WIDE : TAME;
        placed = one_in(3) ? AT_START : AT_END;
        if (options.bench) {
            mood = TAME;
            placed = APART;
        }
        buffer_count = 0;
        double scalar = 0.0;
        const uint32_t panel = c->draw();
        restore(PLAIN);
        c->plain(PLAIN);
        for (int target = LSTMC_TARGET_SCALAR; target < LSTMC_TARGET_COUNT; target++) {
            const lstmc_target t = (lstmc_target)target;
            if (wanted(t) && !run_case(c, t, panel, &scalar, &tallies[t])) return 0;
        }
    }
    for (int t = LSTMC_TARGET_SCALAR; t < LSTMC_TARGET_COUNT; t++) {
        const tally *now_of = &tallies[t];
        if (!now_of->calls) continue;
        printf("%-14s %-8s ok %7lu cases %10.0f ns a call %7.2f x scalar\n", c->name,
               lstmc_target_name((lstmc_target)t), now_of->calls,
               now_of->time / (double)now_of->calls,
               now_of->time > 0.0 ? now_of->scalar_time / now_of->time : 0.0);
    }
    fflush(stdout);
    return 1;
}

static int bad_use(const char *what) {
    fprintf(stderr, "check_kernels: bad %s; see the head of check_kernels.c\n", what);
    return 2;
}

/* 0, or the exit status. */
static int read_options(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--bench") == 0) {
            options.bench = 1;
            continue;
        }
        if (i + 1 == argc) return bad_use(name);
        const char *value = argv[++i];
        char *end = NULL;
        const unsigned long number = strtoul(value, &end, 10);
        const int is_number = *value >= '0' && *value <= '9' && !*end;
        if (strcmp(name, "--only") == 0) {
            options.only = value;
        } else if (strcmp(name, "--target") == 0) {
            options.target = value;
        } else if (strcmp(name, "--cases") == 0 && is_number) {
            options.cases = number;
        } else if (strcmp(name, "--seed") == 0 && is_number) {
            options.seed = number;
        } else if (strcmp(name, "--case") == 0 && is_number) {
            options.first = number;
            options.one = 1;
        } else {
            return bad_use(name);
        }
    }
    if (options.one) options.cases = 1;
    return 0;
}

int main(int argc, char **argv) {
    const int status = read_options(argc, argv);
    if (status) return status;
    int known = 0;
    for (int t = LSTMC_TARGET_SCALAR; t < LSTMC_TARGET_COUNT && options.target; t++) {
        known |= lstmc_target_available((lstmc_target)t) &&
                 strcmp(lstmc_target_name((lstmc_target)t), options.target) == 0;
    }
    if (options.target && !known) return bad_use(options.target);
    catch_faults();
    unsigned ran = 0;
    for (uint32_t i = 0; i < CHECKS; i++) {
        if (options.only && strcmp(options.only, checks[i].name) != 0) continue;
        ran++;
        if (!run_check(i)) return 1;
    }
    return ran ? 0 : bad_use(options.only);
}
