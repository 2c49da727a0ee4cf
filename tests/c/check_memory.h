/* What check_kernels.c needs of the machine: memory that faults beside it, and a clock. Elsewhere than
 * on POSIX, plain memory between marks, and what the caller defines as CHECK_NOW(). */
#ifndef CHECK_MEMORY_H
#define CHECK_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__unix__) || defined(__APPLE__)
#define CHECK_POSIX 1
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#endif

#ifndef REGION                   /* less where there is less memory: there are up to 40 */
#define REGION ((size_t)1 << 21) /* bytes of the largest buffer, and a multiple of all page sizes */
#endif
#define MARKS 64         /* floats beside a buffer, where memory doesn't fault */
#define MARK 0x7fc0beefu /* a NaN: what is read by mistake is seen */

/* REGION bytes, and a page on both sides that must not be touched. */
static unsigned char *new_region(void) {
#ifdef CHECK_POSIX
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *p = (unsigned char *)mmap(NULL, REGION + 2 * page, PROT_NONE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((void *)p == MAP_FAILED || mprotect(p + page, REGION, PROT_READ | PROT_WRITE)) abort();
    return p + page;
#else
    unsigned char *p = (unsigned char *)malloc(REGION + 8 * MARKS);
    if (!p) abort();
    return p + 4 * MARKS;
#endif
}

/* Nanoseconds of a clock that never goes back. */
static double now(void) {
#ifdef CHECK_NOW
    return CHECK_NOW();
#elif defined(CHECK_POSIX)
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
#else
    return 0.0;
#endif
}

#endif
