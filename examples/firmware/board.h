/* What the examples want of a board: to say something, to count, to end. On hardware, these would be a
 * UART and a cycle counter; board.c has semihosting and SysTick, which QEMU's boards have too. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* board.c calls it once C works; its result is what QEMU exits with. */
int main(void);

void say(const char *text);
void say_hex(uint32_t word);                        /* 8 digits */
void say_number(uint32_t number, int width);        /* right-justified */
void say_fixed(float value, int places, int width); /* |value| 10^places < 2^31; rounded */

/* Say a self-test's digest. Returns 0 if it is the expected one. */
int say_selftest(uint32_t found, uint32_t expected);

/* The 32 bits of a float, and the CRC-32 of many: begin with 0, hand on what comes back. Of all outputs
 * that is what lstmc.digest gives on the computer. */
uint32_t bits_of(float value);
uint32_t digest(uint32_t crc, float value);

/* Ticks of the SysTick timer since timer_start. */
void timer_start(void);
uint32_t timer_ticks(void);

/* Instructions that a tick takes, times 256: found by running a loop of known length. Instructions
 * mean something only where every one takes the same time, as with qemu -icount. */
uint32_t timer_scale(void);

/* Bytes of the stack that were ever used. */
uint32_t stack_used(void);

#endif
