/* See pool.h. */
#if defined(__linux__)
#define _GNU_SOURCE /* sched_getcpu, SCHED_BATCH, pthread_setaffinity_np */
#elif !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif

#include "pool.h"

static void run_alone(uint32_t parts, void (*body)(void *argument, uint32_t part), void *argument) {
    for (uint32_t i = 0; i < parts; i++) body(argument, i);
}

#if !LSTMC_POOL_WORKS

void lstmc_pool_set_threads(uint32_t threads) { (void)threads; }

void lstmc_pool_run(void *pool, uint32_t parts, void (*body)(void *argument, uint32_t part),
                    void *argument) {
    (void)pool;
    run_alone(parts, body, argument);
}

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

/* How long a thread spins before it sleeps, in nanoseconds. The next step of a sequence comes within a
 * few microseconds, the next call from Python within twenty; falling asleep and being woken cost
 * five to fifty. */
#define SPIN_NS 50000
#define PAUSES 16 /* between two looks at the clock */
#define SKIP_MOST 6
/* A caller that waits longer than a part takes waits for a worker that the system has stopped: there
 * are not enough CPUs. It then does without for so many times as long as it has lost, and at most for
 * that long: so little is lost where other programs want the CPUs too. */
#define ALONE_TIMES 16
#define ALONE_MOST_NS 1000000000u

typedef uintptr_t bits; /* one for each part or worker */

typedef struct worker {
    pthread_mutex_t lock; /* for sleeping */
    pthread_cond_t wake;
    pthread_t thread;
    uint32_t fruitless; /* times in a row that it was woken and got nothing to do */
    uint32_t skip;      /* the caller's: calls to let pass before waking it again */
} worker;

/* Data of different writers lie in lines of their own. */
static struct {
    bits open __attribute__((aligned(128)));     /* parts of the call that nobody has begun */
    uint32_t left __attribute__((aligned(128))); /* parts that are not done */
    uint32_t waiting;                            /* the caller sleeps until there are none */
    uint32_t busy __attribute__((aligned(128))); /* a call is in the pool */
    bits asleep;                                 /* workers that sleep, to be woken */
    bits alive;                                  /* workers that there are */
    uint32_t limit;                              /* threads to use */
    uint64_t alone_until;                        /* the caller's; 0: no need */
    int cpu;                                     /* where the caller was when it opened the call */
    /* The call, fixed while any part of it is open or not done. */
    uint32_t parts __attribute__((aligned(128)));
    uint32_t threads;
    void (*body)(void *argument, uint32_t part);
    void *argument;
    pthread_mutex_t lock; /* for `waiting`, and for starting and ending workers */
    pthread_cond_t done;
    worker workers[LSTMC_POOL_MOST];
} pool;

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* -------------------------------------------------------------------------------------- waiting -- */

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#elif defined(__arm__) && __ARM_ARCH >= 7
    __asm__ volatile("yield");
#endif
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A call is open, and worker i has a place in it. */
static int wanted(uint32_t i) {
    return __atomic_load_n(&pool.open, __ATOMIC_SEQ_CST) != 0 &&
           i < __atomic_load_n(&pool.threads, __ATOMIC_RELAXED);
}

/* The CPU that this thread is on; -1 if that can't be known. */
static int this_cpu(void) {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

static int finished(uint32_t i) {
    (void)i;
    return __atomic_load_n(&pool.left, __ATOMIC_SEQ_CST) == 0;
}

/* Whether it came true before the time was over. */
static int spin(int (*true_now)(uint32_t i), uint32_t i) {
    if (true_now(i)) return 1;
    const uint64_t end = now() + SPIN_NS;
    do {
        /* A worker that has come where the caller is only keeps it from going on. */
        const int cpu = i ? this_cpu() : -1;
        if (cpu >= 0 && cpu == __atomic_load_n(&pool.cpu, __ATOMIC_RELAXED)) return 0;
        for (int n = 0; n < PAUSES; n++) {
            relax();
            if (true_now(i)) return 1;
        }
    } while (now() < end);
    return 0;
}

/* -------------------------------------------------------------------------------------- working -- */

/* Begin an open part: the first of thread i's own, or else the one farthest behind in the others'.
 * What is read of the call before that is only a guess: another call may be open by now. */
static int begin(uint32_t i, uint32_t *part) {
    for (;;) {
        const bits open = __atomic_load_n(&pool.open, __ATOMIC_RELAXED);
        if (!open) return 0;
        const uint32_t parts = __atomic_load_n(&pool.parts, __ATOMIC_RELAXED);
        const uint32_t threads = __atomic_load_n(&pool.threads, __ATOMIC_RELAXED);
        const uint32_t first = threads ? i * parts / threads : 0;
        uint32_t at = first;
        while (at < LSTMC_POOL_MOST && !(open >> at & 1)) at++;
        if (at >= LSTMC_POOL_MOST || (threads && at >= (i + 1) * parts / threads)) {
            at = first < LSTMC_POOL_MOST ? first : 0; /* from there down, around the end */
            do {
                at = (at ? at : LSTMC_POOL_MOST) - 1;
            } while (!(open >> at & 1));
        }
        const bits bit = (bits)1 << at;
        if (__atomic_fetch_and(&pool.open, ~bit, __ATOMIC_ACQ_REL) & bit) {
            *part = at;
            return 1;
        }
    }
}

/* Take parts as thread i until none is open; how many. */
static uint32_t work(uint32_t i) {
    uint32_t count = 0, part;
    while (begin(i, &part)) {
        pool.body(pool.argument, part);
        count++;
        if (__atomic_sub_fetch(&pool.left, 1, __ATOMIC_SEQ_CST) == 0 &&
            __atomic_load_n(&pool.waiting, __ATOMIC_SEQ_CST)) {
            pthread_mutex_lock(&pool.lock);
            pthread_cond_signal(&pool.done);
            pthread_mutex_unlock(&pool.lock);
        }
    }
    return count;
}

/* Sleep until woken; 0: end instead. */
static int sleep_well(uint32_t i) {
    worker *w = &pool.workers[i];
    const bits bit = (bits)1 << i;
    pthread_mutex_lock(&w->lock);
    __atomic_fetch_or(&pool.asleep, bit, __ATOMIC_SEQ_CST);
    /* A caller that opened parts before this saw nobody to wake. */
    if (wanted(i)) __atomic_fetch_and(&pool.asleep, ~bit, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&pool.asleep, __ATOMIC_SEQ_CST) & bit &&
           i < __atomic_load_n(&pool.limit, __ATOMIC_SEQ_CST)) {
        pthread_cond_wait(&w->wake, &w->lock);
    }
    __atomic_fetch_and(&pool.asleep, ~bit, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&w->lock);
    if (i < __atomic_load_n(&pool.limit, __ATOMIC_SEQ_CST)) return 1;
    pthread_mutex_lock(&pool.lock);
    const int stay = i < __atomic_load_n(&pool.limit, __ATOMIC_SEQ_CST);
    if (!stay) __atomic_fetch_and(&pool.alive, ~bit, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool.lock);
    return stay;
}

static void *live(void *place) {
    const uint32_t i = (uint32_t)(uintptr_t)place;
    worker *w = &pool.workers[i];
    pthread_mutex_lock(&w->lock);
    w->thread = pthread_self();
    pthread_mutex_unlock(&w->lock);
#if defined(SCHED_BATCH)
    /* Woken where all CPUs are busy, it waits its turn and does not interrupt, of all threads, the
     * caller. */
    const struct sched_param parameter = {0};
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameter);
#endif
    do {
        uint32_t count = 0;
        while (spin(wanted, i)) count += work(i);
        const uint32_t fruitless = __atomic_load_n(&w->fruitless, __ATOMIC_RELAXED);
        const uint32_t more = fruitless < SKIP_MOST ? fruitless + 1 : SKIP_MOST;
        __atomic_store_n(&w->fruitless, count ? 0 : more, __ATOMIC_RELAXED);
    } while (sleep_well(i));
    return NULL;
}

/* ------------------------------------------------------------------------------------- starting -- */

/* As if nothing had ever run; in a child after fork too, where only this thread lives on. */
static void make(void) {
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.done, NULL);
    for (uint32_t i = 0; i < LSTMC_POOL_MOST; i++) {
        pthread_mutex_init(&pool.workers[i].lock, NULL);
        pthread_cond_init(&pool.workers[i].wake, NULL);
        pool.workers[i].fruitless = pool.workers[i].skip = 0;
    }
    pool.open = pool.asleep = pool.alive = 0;
    pool.left = pool.waiting = pool.busy = pool.parts = pool.threads = 0;
    pool.alone_until = 0;
    pool.cpu = -1;
}

static void begin_once(void) {
    make();
    pool.limit = 1;
    pthread_atfork(NULL, NULL, make);
}

/* See that workers 1 to threads - 1 live; what can't be started is missing, and nothing else. */
static void start(uint32_t threads) {
    sigset_t all, before;
    pthread_t thread;
    pthread_attr_t detached;
    pthread_mutex_lock(&pool.lock);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (uint32_t i = 1; i < threads; i++) {
        const bits bit = (bits)1 << i;
        if (__atomic_load_n(&pool.alive, __ATOMIC_SEQ_CST) & bit) continue;
        if (pthread_create(&thread, &detached, live, (void *)(uintptr_t)i)) break;
        __atomic_fetch_or(&pool.alive, bit, __ATOMIC_SEQ_CST);
    }
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_unlock(&pool.lock);
}

/* A woken thread is put where it slept or where the caller is, and there, being SCHED_BATCH, it waits
 * until the caller is done. So it may run on all CPUs that the caller may, but that one. */
static void keep_off(const worker *w) {
#if defined(__linux__)
    cpu_set_t cpus;
    const int here = sched_getcpu();
    const size_t cpu = (size_t)here;
    if (here < 0 || pthread_getaffinity_np(pthread_self(), sizeof cpus, &cpus)) return;
    if (CPU_COUNT(&cpus) < 2 || !CPU_ISSET(cpu, &cpus)) return;
    CPU_CLR(cpu, &cpus);
    (void)pthread_setaffinity_np(w->thread, sizeof cpus, &cpus);
#else
    (void)w;
#endif
}

static void wake(uint32_t i, int elsewhere) {
    worker *w = &pool.workers[i];
    pthread_mutex_lock(&w->lock);
    if (elsewhere) keep_off(w);
    __atomic_fetch_and(&pool.asleep, ~((bits)1 << i), __ATOMIC_SEQ_CST);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void lstmc_pool_set_threads(uint32_t threads) {
    pthread_once(&once, begin_once);
    if (threads < 1) threads = 1;
    if (threads > LSTMC_POOL_MOST) threads = LSTMC_POOL_MOST;
    __atomic_store_n(&pool.limit, threads, __ATOMIC_SEQ_CST);
    for (uint32_t i = threads; i < LSTMC_POOL_MOST; i++) { /* to end */
        if (__atomic_load_n(&pool.alive, __ATOMIC_SEQ_CST) >> i & 1) wake(i, 0);
    }
}

/* --------------------------------------------------------------------------------------- calling -- */

/* Wait for the parts of others; this thread has done `count` since `start_time`. */
static void finish(uint64_t start_time, uint32_t count) {
    const uint64_t since = now();
    uint64_t fair = count ? (since - start_time) / count : 0;
    if (fair < SPIN_NS) fair = SPIN_NS;
    if (!spin(finished, 0)) {
        pthread_mutex_lock(&pool.lock);
        __atomic_store_n(&pool.waiting, 1, __ATOMIC_SEQ_CST);
        while (!finished(0)) pthread_cond_wait(&pool.done, &pool.lock);
        __atomic_store_n(&pool.waiting, 0, __ATOMIC_SEQ_CST);
        pthread_mutex_unlock(&pool.lock);
    }
    /* Where there are too few CPUs, this thread may have been stopped while it spun, too. */
    const uint64_t end = now(), waited = end - since;
    if (waited <= fair) return;
    const uint64_t rest = (waited - fair) * ALONE_TIMES;
    pool.alone_until = end + (rest < ALONE_MOST_NS ? rest : ALONE_MOST_NS);
}

void lstmc_pool_run(void *unused, uint32_t parts, void (*body)(void *argument, uint32_t part),
                    void *argument) {
    (void)unused;
    pthread_once(&once, begin_once);
    uint32_t threads = __atomic_load_n(&pool.limit, __ATOMIC_RELAXED);
    if (threads > parts) threads = parts;
    if (threads < 2 || parts > LSTMC_POOL_MOST ||
        __atomic_exchange_n(&pool.busy, 1, __ATOMIC_ACQUIRE)) {
        run_alone(parts, body, argument);
        return;
    }
    const uint64_t start_time = now();
    if (start_time < pool.alone_until) {
        __atomic_store_n(&pool.busy, 0, __ATOMIC_RELEASE);
        run_alone(parts, body, argument);
        return;
    }
    const bits places = ~(bits)0 >> (LSTMC_POOL_MOST - threads) & ~(bits)1;
    if (places & ~__atomic_load_n(&pool.alive, __ATOMIC_RELAXED)) start(threads);

    pool.body = body;
    pool.argument = argument;
    __atomic_store_n(&pool.cpu, this_cpu(), __ATOMIC_RELAXED);
    __atomic_store_n(&pool.parts, parts, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.threads, threads, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.left, parts, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.open, ~(bits)0 >> (LSTMC_POOL_MOST - parts), __ATOMIC_SEQ_CST);

    const bits asleep = __atomic_load_n(&pool.asleep, __ATOMIC_SEQ_CST) & places;
    for (uint32_t i = 1; i < threads; i++) {
        worker *w = &pool.workers[i];
        if (!(asleep >> i & 1)) continue;
        if (w->skip) { /* calls as short as these were over before it had woken */
            w->skip--;
        } else {
            wake(i, 1);
            w->skip = (1u << __atomic_load_n(&w->fruitless, __ATOMIC_RELAXED)) - 1;
        }
    }
    const uint32_t count = work(0);
    if (!finished(0)) finish(start_time, count);
    __atomic_store_n(&pool.busy, 0, __ATOMIC_RELEASE);
}

#endif
