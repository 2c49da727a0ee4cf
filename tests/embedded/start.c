/* What a program needs on a bare Cortex-M under QEMU: the way from reset to main, and newlib's system
 * calls by semihosting, so that programs written for a host run as they are: argv, files, stdout,
 * stderr, the exit status. A fault ends the program with status 70.
 */
#include "reset.h"

#include <errno.h>
#include <sys/stat.h>

extern char heap_start[], heap_end[];

int main(int argc, char **argv);

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
    end_program(status);
    for (;;) continue;
}

/* -------------------------------------------------------------------------------------- start -- */

void exit(int status);
void _fini(void) {} /* newlib's exit asks for it */

static void start(void) {
    static char line[8192];
    static char *argv[128];
    int argc = 0;
    const uint32_t block[2] = {(uint32_t)(uintptr_t)line, sizeof line};
    init_memory();
    files[0].handle = open_handle(":tt", 0);
    files[1].handle = open_handle(":tt", 4);
    files[2].handle = open_handle(":tt", 8);
    semihost(SYS_GET_CMDLINE, block);
    for (char *p = strtok(line, " "); p && argc < 127; p = strtok(NULL, " ")) argv[argc++] = p;
    exit(main(argc, argv));
}
