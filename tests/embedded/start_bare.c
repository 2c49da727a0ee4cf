/* What a program needs on a board without a C library: the way from reset to main, which gets no
 * arguments, and say(), which prints a text. */
#include "reset.h"

int main(void);
void say(const char *text);

static uint32_t console;

void say(const char *text) {
    const uint32_t block[3] = {console, (uint32_t)(uintptr_t)text, (uint32_t)strlen(text)};
    semihost(SYS_WRITE, block);
}

static void start(void) {
    init_memory();
    const uint32_t block[3] = {(uint32_t)(uintptr_t) ":tt", 4, 3}; /* stdout */
    console = (uint32_t)semihost(SYS_OPEN, block);
    end_program(main());
    for (;;) continue;
}
