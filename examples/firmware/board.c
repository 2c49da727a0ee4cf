/* From reset to main for a Cortex-M with or without an FPU, in C; see board.h for the rest. Of a C
 * library it needs memcpy and memset, as the exported models do. */
#include "board.h"

#include <stddef.h>
#include <string.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define SYSTICK_CONTROL REGISTER(0xe000e010u)
#define SYSTICK_RELOAD REGISTER(0xe000e014u)
#define SYSTICK_VALUE REGISTER(0xe000e018u)
#define TICKS 0xffffffu
#define UNUSED 0xa5a5a5a5u /* what the stack is painted with */

/* Places that link.ld knows. */
extern uint32_t data_source[], data_start[], data_end[], bss_start[], bss_end[];
extern uint32_t stack_bottom[], stack_top[];

/* ---------------------------------------------------------------- a call to whoever debugs us -- */

/* Arm, "Semihosting for AArch32 and AArch64". */
enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026 };

static void semihost(int operation, const void *parameters) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = parameters;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void end(uint32_t status) {
    const uint32_t block[2] = {APPLICATION_EXIT, status};
    semihost(SYS_EXIT_EXTENDED, block);
    for (;;) continue;
}

/* ------------------------------------------------------------------------------ from reset on -- */

void reset(void);

static void fault(void) {
    say("fault: is the stack too small?\n");
    end(70);
}

static void __attribute__((used)) start(void) {
    for (uint32_t *p = stack_bottom; p < (uint32_t *)__builtin_frame_address(0) - 16; p++)
        *p = UNUSED;
    memcpy(data_start, data_source, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    end((uint32_t)main());
}

/* The FPU is off at first, and a function may save FPU registers before its first statement: CPACR
 * turns it on before any function of C. A core without one ignores that. */
__attribute__((naked)) void reset(void) {
    __asm__ volatile(".syntax unified\n\t"
                     "ldr r0, =0xe000ed88\n\t"
                     "ldr r1, [r0]\n\t"
                     "ldr r2, =0x00f00000\n\t"
                     "orrs r1, r2\n\t"
                     "str r1, [r0]\n\t"
                     "dsb\n\t"
                     "isb\n\t"
                     "b start\n\t"
                     ".ltorg");
}

/* The core takes the first two words at reset; the others are exceptions, the last one SysTick's. */
static void systick(void);
typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
    void *stack;
    handler handlers[15];
} vectors = {stack_top,
             {reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
              fault, fault, systick}};

/* ------------------------------------------------------------------------------------ to say -- */

void say(const char *text) { semihost(SYS_WRITE0, text); }

void say_hex(uint32_t word) {
    char text[9] = "";
    for (int i = 7; i >= 0; i--, word >>= 4) text[i] = "0123456789abcdef"[word & 15];
    say(text);
}

/* A number with a point before its last ``places`` digits. */
static void say_digits(uint32_t number, int places, int negative, int width) {
    char text[24];
    int at = (int)sizeof text - 1, digits = 0;
    text[at] = '\0';
    for (; number || digits <= places; number /= 10, digits++) {
        if (digits == places && places) text[--at] = '.';
        text[--at] = (char)('0' + number % 10);
    }
    if (negative) text[--at] = '-';
    while (at > 0 && (int)sizeof text - 1 - at < width) text[--at] = ' ';
    say(text + at);
}

void say_number(uint32_t number, int width) { say_digits(number, 0, 0, width); }

void say_fixed(float value, int places, int width) {
    const int negative = value < 0;
    float size = negative ? -value : value;
    for (int i = 0; i < places; i++) size *= 10.0f;
    say_digits((uint32_t)(size + 0.5f), places, negative, width);
}

int say_selftest(uint32_t found, uint32_t expected) {
    say("selftest     ");
    say_hex(found);
    say(found == expected ? ", as it must be\n\n" : ": WRONG\n");
    return found != expected;
}

uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

uint32_t digest(uint32_t crc, float value) {
    crc = ~crc ^ bits_of(value);
    for (int bit = 0; bit < 32; bit++) crc = crc >> 1 ^ (crc & 1u ? 0xedb88320u : 0);
    return ~crc;
}

/* ---------------------------------------------------------------------------------- to count -- */

static volatile uint32_t rounds; /* of the timer, 2^24 ticks each */

static void systick(void) { rounds++; }

void timer_start(void) {
    SYSTICK_CONTROL = 0;
    SYSTICK_RELOAD = TICKS;
    SYSTICK_VALUE = 0;
    rounds = 0;
    SYSTICK_CONTROL = 7;             /* the core's clock, an interrupt each round */
    while (!SYSTICK_VALUE) continue; /* it is loaded with the next tick */
}

/* At 0 a round is over, though the timer isn't loaded yet: that moment passes, and so does an
 * interrupt between the two readings. */
uint32_t timer_ticks(void) {
    uint32_t before, left;
    do {
        before = rounds;
        left = SYSTICK_VALUE;
    } while (!left || before != rounds);
    return (before << 24) + (TICKS - left);
}

uint32_t timer_scale(void) {
    uint32_t turns = 1u << 20;
    timer_start();
    __asm__ volatile(".syntax unified\n"
                     "1: subs %0, #1\n\t"
                     "bne 1b"
                     : "+l"(turns)
                     :
                     : "cc");
    const uint32_t ticks = timer_ticks(); /* two instructions a turn, 2^21 in all */
    return ((2u << 28) + ticks / 2) / ticks;
}

uint32_t stack_used(void) {
    const uint32_t *p = stack_bottom;
    while (p < stack_top && *p == UNUSED) p++;
    return (uint32_t)((const char *)stack_top - (const char *)p);
}
