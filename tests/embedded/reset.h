/* From reset to start(), which the file that includes this defines: registers that C needs, then
 * init_memory(). A fault ends the program with status 70. */
#ifndef RESET_H
#define RESET_H

#include "semihosting.h"

#include <stddef.h>
#include <string.h>

#define FAULT 70

extern uint32_t data_source[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

static void start(void) __attribute__((used, noreturn));
void reset(void);

static void init_memory(void) {
    memcpy(data_start, data_source, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
}

static void __attribute__((used)) fault(void) { end_program(FAULT); }

#if defined(__riscv)

/* The FPU is off (mstatus.FS = 0) at first. */
__attribute__((naked, section(".vectors"))) void reset(void) {
    __asm__ volatile("la sp, stack_top\n\t"
#ifdef __riscv_flen
                     "li t0, 0x2000\n\t"
                     "csrs mstatus, t0\n\t"
                     "csrw fcsr, zero\n\t"
#endif
                     "la t0, trap\n\t"
                     ".option push\n\t"
                     ".option arch, +zicsr\n\t"
                     "csrw mtvec, t0\n\t"
                     ".option pop\n\t"
                     "j start\n\t"
                     ".balign 4\n"
                     "trap: j fault");
}

#else

/* CPACR gives access to the FPU and to Helium: before anything could save their registers. Cores
 * without them ignore it. */
__attribute__((naked)) void reset(void) {
    __asm__ volatile(".syntax unified\n\t" /* GCC has another for Armv6-M */
                     "ldr r0, =0xe000ed88\n\t"
                     "ldr r1, [r0]\n\t"
                     "ldr r2, =0x00f00000\n\t"
                     "orrs r1, r2\n\t"
                     "str r1, [r0]\n\t"
                     "dsb\n\t"
                     "isb\n\t"
                     "bl start\n\t"
                     ".ltorg");
}

typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
    void *stack;
    handler all[15];
} vectors = {stack_top,
             {reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
              fault, fault, fault}};

#endif

#endif
