/* Threads for the core's lstmc_parallel. Knows nothing of Python.
 *
 * One pool for the process, started at the first call that goes parallel and never ended: a worker
 * that has nothing to do spins for some microseconds and then sleeps, and so takes no time. Parts of a
 * call lie open for any thread; each begins with those of its own place, which are the same in every
 * step and so in its cache, and goes on with what nobody has begun. The caller takes part in this: a
 * worker that the system doesn't let run delays nobody, but for a part that it is in the middle of.
 *
 * While one call is in the pool, others run their parts in their own thread. After fork, a child
 * begins with a pool of its own. Workers block all signals.
 *
 * On Windows there are no workers, since none could be tested yet: LSTMC_POOL_WORKS is 0, and
 * lstmc_pool_run runs all parts itself. */
#ifndef LSTMC_POOL_H
#define LSTMC_POOL_H

#include <stdint.h>

#if defined(_WIN32)
#define LSTMC_POOL_WORKS 0
#else
#define LSTMC_POOL_WORKS 1
#endif

/* Threads at most, the caller among them: the bits of a word that is changed in one piece. */
#define LSTMC_POOL_MOST (8 * (uint32_t)sizeof(uintptr_t))

/* Use at most so many threads from now on, 1 to LSTMC_POOL_MOST; may be called at any time, from any
 * thread. Workers beyond them end as soon as they have nothing to do. */
void lstmc_pool_set_threads(uint32_t threads);

/* The run of an lstmc_parallel: body(argument, part) for all parts below `parts`. pool is not used. */
void lstmc_pool_run(void *pool, uint32_t parts, void (*body)(void *argument, uint32_t part),
                    void *argument);

#endif
