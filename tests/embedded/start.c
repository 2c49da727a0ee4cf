/* What a program needs on a bare Cortex-M under QEMU: the way from reset to main, and newlib's system
 * calls by semihosting, so that programs written for a host run as they are: argv, files, stdout,
 * stderr, the exit status. A fault ends the program with status 70.
 *
 * Semihosting: Arm, "Semihosting for AArch32 and AArch64", 2.0. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_SEEK = 0x0a,
    SYS_FLEN = 0x0c,
    SYS_GET_CMDLINE = 0x15,
    SYS_EXIT_EXTENDED = 0x20
};
#define APPLICATION_EXIT 0x20026u
#define FAULT 70

extern uint32_t data_source[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];
extern char heap_start[], heap_end[];

int main(int argc, char **argv);
void reset(void);

static int semihost(int operation, const void *parameters) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = parameters;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

/* ------------------------------------------------------------------------------ system calls -- */

/* Semihosting knows only whole files by handle: where each stands is ours to know. 0 to 2 are the
 * console. */
enum { FILES = 16 };
static struct {
    int handle, used;
    uint32_t at, size;
} files[FILES];

static int open_handle(const char *name, uint32_t mode) {
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, (uint32_t)strlen(name)};
    return semihost(SYS_OPEN, block);
}

int _open(const char *name, int flags, int mode) {
    (void)mode;
    if (flags & 3) { /* these programs only read */
        errno = EACCES;
        return -1;
    }
    for (int fd = 3; fd < FILES; fd++) {
        if (files[fd].used) continue;
        const int handle = open_handle(name, 1); /* "rb" */
        if (handle < 0) break;
        const uint32_t block[1] = {(uint32_t)handle};
        files[fd].handle = handle;
        files[fd].used = 1;
        files[fd].at = 0;
        files[fd].size = (uint32_t)semihost(SYS_FLEN, block);
        return fd;
    }
    errno = ENOENT;
    return -1;
}

int _close(int fd) {
    const uint32_t block[1] = {(uint32_t)files[fd].handle};
    files[fd].used = 0;
    return semihost(SYS_CLOSE, block);
}

int _read(int fd, char *to, int n) {
    const uint32_t block[3] = {(uint32_t)files[fd].handle, (uint32_t)(uintptr_t)to, (uint32_t)n};
    const int missing = semihost(SYS_READ, block);
    files[fd].at += (uint32_t)(n - missing);
    return n - missing;
}

int _write(int fd, const char *from, int n) {
    const uint32_t block[3] = {(uint32_t)files[fd].handle, (uint32_t)(uintptr_t)from, (uint32_t)n};
    return n - semihost(SYS_WRITE, block);
}

int _lseek(int fd, int offset, int whence) {
    const uint32_t base = whence == 0 ? 0 : whence == 1 ? files[fd].at : files[fd].size;
    files[fd].at = base + (uint32_t)offset;
    const uint32_t block[2] = {(uint32_t)files[fd].handle, files[fd].at};
    return semihost(SYS_SEEK, block) ? -1 : (int)files[fd].at;
}

int _fstat(int fd, struct stat *s) {
    memset(s, 0, sizeof *s);
    s->st_mode = fd < 3 ? S_IFCHR : S_IFREG;
    return 0;
}

int _isatty(int fd) { return fd < 3; }
int _getpid(void) { return 1; }
int _kill(int pid, int signal) {
    (void)pid;
    (void)signal;
    return -1;
}

/* The stack has what is above the heap. */
void *_sbrk(ptrdiff_t n) {
    static char *end = heap_start;
    char *const here = end;
    if (n > heap_end - end) {
        errno = ENOMEM;
        return (void *)-1;
    }
    end += n;
    return here;
}

void _exit(int status) {
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)status};
    semihost(SYS_EXIT_EXTENDED, block);
    for (;;) continue;
}

/* -------------------------------------------------------------------------------------- start -- */

void exit(int status);
void _fini(void) {} /* newlib's exit asks for it */

static void start(void) __attribute__((used, noreturn));
static void start(void) {
    static char line[8192];
    static char *argv[128];
    int argc = 0;
    const uint32_t block[2] = {(uint32_t)(uintptr_t)line, sizeof line};
    memcpy(data_start, data_source, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    files[0].handle = open_handle(":tt", 0);
    files[1].handle = open_handle(":tt", 4);
    files[2].handle = open_handle(":tt", 8);
    semihost(SYS_GET_CMDLINE, block);
    for (char *p = strtok(line, " "); p && argc < 127; p = strtok(NULL, " ")) argv[argc++] = p;
    exit(main(argc, argv));
}

/* CPACR gives access to the FPU and to Helium: before anything could save their registers. Cores
 * without them ignore it. */
__attribute__((naked)) void reset(void) {
    __asm__ volatile("ldr r0, =0xe000ed88\n\t"
                     "ldr r1, [r0]\n\t"
                     "ldr r2, =0x00f00000\n\t"
                     "orrs r1, r2\n\t"
                     "str r1, [r0]\n\t"
                     "dsb\n\t"
                     "isb\n\t"
                     "bl start\n\t"
                     ".ltorg");
}

static void fault(void) { _exit(FAULT); }

typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
    void *stack;
    handler all[15];
} vectors = {stack_top,
             {reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
              fault, fault, fault}};
