/* Faults for a program that is started with LD_PRELOAD: operations on files below SHIM_UNDER are counted, and number SHIM_AT
 * is where it happens.
 *
 * SHIM_DO     kill: the process is killed there, in the middle of what it writes; a number: that errno
 * SHIM_FOR    how many operations fail from there on (default: all)
 * SHIM_OPS    write (default): all that changes files; read: reading
 * SHIM_COUNT  file that gets the number of operations when the program ends
 * SHIM_CLOCK  seconds by which the wall clock jumps at its call number SHIM_CLOCK_AT (default 1)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static long at, lasting = -1, count, clock_jump, clock_at = 1, clock_calls;
static int code, kills, reads, ready, busy_fd = -1;
static const char *under, *count_file;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static void prepare(void) {
    if (ready) return;
    ready = 1;
    under = getenv("SHIM_UNDER");
    count_file = getenv("SHIM_COUNT");
    at = number("SHIM_AT", 0);
    lasting = number("SHIM_FOR", -1);
    clock_jump = number("SHIM_CLOCK", 0);
    clock_at = number("SHIM_CLOCK_AT", 1);
    const char *what = getenv("SHIM_DO"), *ops = getenv("SHIM_OPS");
    kills = what && !strcmp(what, "kill");
    code = what && !kills ? atoi(what) : 0;
    reads = ops && !strcmp(ops, "read");
}

__attribute__((destructor)) static void finish(void) {
    if (!count_file) return;
    FILE *out = fopen(count_file, "w");
    if (out) { fprintf(out, "%ld\n", count); fclose(out); }
}

static int concerns(const char *path) { return under && path && strstr(path, under) && !(count_file && !strcmp(path, count_file)); }

static int concerns_fd(int fd) {
    char link[64], path[PATH_MAX];
    if (!under || fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return concerns(path);
}

/* 1: this operation is the one. */
static int hit(int is_read) {
    if (is_read != reads) return 0;
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    return at && number >= at && (lasting < 0 || number < at + lasting);
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name); prepare()
#define FAIL(condition) if (condition) { if (kills) die(); if (code) { errno = code; return -1; } }

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT); }

#define OPEN(name) int name(const char *path, int flags, ...) { \
    REAL(int, #name, const char *, int, ...); \
    va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
    FAIL(writes(flags) && concerns(path) && hit(0)) \
    return real(path, flags, mode); }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (concerns_fd(fd) && hit(0)) {
        /* A full disk takes what still fits. */
        if (size > 1 && (kills || (code == ENOSPC && busy_fd != fd))) {
            busy_fd = fd;
            ssize_t some = real(fd, bytes, size / 2);
            if (kills) die();
            return some;
        }
        FAIL(1)
    }
    return real(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    FAIL(concerns_fd(fd) && hit(0))
    return real(fd, parts, n);
}

ssize_t read(int fd, void *bytes, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    FAIL(concerns_fd(fd) && hit(1))
    return real(fd, bytes, size);
}

#define ON_FD(name) int name(int fd) { REAL(int, #name, int); FAIL(concerns_fd(fd) && hit(0)) return real(fd); }
ON_FD(fsync)
ON_FD(fdatasync)

int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    FAIL(concerns_fd(fd) && hit(0))
    return real(fd, size);
}

#define ON_PATH(name) int name(const char *path) { REAL(int, #name, const char *); FAIL(concerns(path) && hit(0)) return real(path); }
ON_PATH(unlink)
ON_PATH(rmdir)

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    FAIL(concerns(path) && hit(0))
    return real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    FAIL(concerns(to) && hit(0))
    return real(from, to);
}

int unlinkat(int dir, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    FAIL((concerns_fd(dir) || concerns(path)) && hit(0))
    return real(dir, path, flags);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME && clock_jump && __atomic_add_fetch(&clock_calls, 1, __ATOMIC_SEQ_CST) >= clock_at)
        time->tv_sec += clock_jump;
    return result;
}
