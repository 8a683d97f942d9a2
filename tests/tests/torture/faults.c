/* Lets calls of the C library fail below one directory, for a program that is started with this in LD_PRELOAD.
 * All others go to the kernel as they are: to look the library's own up takes memory, and the allocator makes such calls
 * before it has any.
 *
 * FAULT_BELOW   the directory; everything else is left alone
 * FAULT_CALLS   names of calls, separated by commas
 * FAULT_ERROR   the errno to give, as a number; 0 for a write or a read of half the bytes
 * FAULT_FIRST   the first call of them that fails, counted from 1
 * FAULT_TIMES   how many fail from there on
 * FAULT_MARK    a file that is made when the first one fails
 * FAULT_WHILE   a file; calls fail only as long as it is there
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PASS -1

static atomic_long calls;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

/* The errno that this call is to fail with, or PASS. */
static int fault(const char *call, const char *path) {
    const char *below = getenv("FAULT_BELOW"), *names = getenv("FAULT_CALLS"), *during = getenv("FAULT_WHILE");
    if (!below || !names || !path || strncmp(path, below, strlen(below)) != 0) return PASS;
    const char *found = names;
    size_t length = strlen(call);
    while ((found = strstr(found, call)) != NULL) {
        if ((found == names || found[-1] == ',') && (found[length] == ',' || found[length] == 0)) break;
        found += length;
    }
    if (!found) return PASS;
    if (during && syscall(SYS_faccessat, AT_FDCWD, during, F_OK) != 0) return PASS;
    long nth = atomic_fetch_add(&calls, 1) + 1, first = number("FAULT_FIRST", 1);
    if (nth < first || nth - first >= number("FAULT_TIMES", 0x7fffffff)) return PASS;
    const char *mark = getenv("FAULT_MARK");
    if (mark && nth == first) {
        long made = syscall(SYS_openat, AT_FDCWD, mark, O_CREAT | O_WRONLY, 0600);
        if (made >= 0) syscall(SYS_close, made);
    }
    return (int)number("FAULT_ERROR", EIO);
}

/* As fault, of an open file. */
static int fault_of(const char *call, int fd) {
    if (!getenv("FAULT_BELOW")) return PASS;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return PASS;
    path[length] = 0;
    return fault(call, path);
}

#define FAIL_IF(error)          \
    do {                        \
        int failed = (error);   \
        if (failed != PASS) {   \
            errno = failed;     \
            return -1;          \
        }                       \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
    int code = fault_of("write", fd);
    if (code == 0) return syscall(SYS_write, fd, bytes, (length + 1) / 2);
    FAIL_IF(code);
    return syscall(SYS_write, fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int code = fault_of("write", fd);
    if (code == 0) {
        /* Half of the first part that is not empty. */
        for (int part = 0; part < count; part++)
            if (parts[part].iov_len > 0) return syscall(SYS_write, fd, parts[part].iov_base, (parts[part].iov_len + 1) / 2);
        return 0;
    }
    FAIL_IF(code);
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t read(int fd, void *bytes, size_t length) {
    int code = fault_of("read", fd);
    if (code == 0) return syscall(SYS_read, fd, bytes, (length + 1) / 2);
    FAIL_IF(code);
    return syscall(SYS_read, fd, bytes, length);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t offset) {
    int code = fault_of("read", fd);
    if (code == 0) return syscall(SYS_pread64, fd, bytes, (length + 1) / 2, offset);
    FAIL_IF(code);
    return syscall(SYS_pread64, fd, bytes, length, offset);
}

/* Not as the header declares it: Rust asks with a null pointer whether there is such a call. */
int statx(int dir, const char *path, int flags, unsigned int mask, void *found) {
    FAIL_IF(path && *path ? fault("stat", path) : fault_of("stat", dir));
    return (int)syscall(SYS_statx, dir, path, flags, mask, found);
}

int mkdir(const char *path, mode_t mode) {
    FAIL_IF(fault("mkdir", path));
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

/* The allocator lists nothing, so here the library's own may be looked up. */
DIR *opendir(const char *path) {
    int failed = fault("list", path);
    if (failed != PASS) {
        errno = failed;
        return NULL;
    }
    DIR *(*real)(const char *);
    *(void **)&real = dlsym(RTLD_NEXT, "opendir");
    return real(path);
}

int fdatasync(int fd) {
    FAIL_IF(fault_of("fdatasync", fd));
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    FAIL_IF(fault_of("fsync", fd));
    return (int)syscall(SYS_fsync, fd);
}

int ftruncate64(int fd, off64_t length) {
    FAIL_IF(fault_of("ftruncate", fd));
    return (int)syscall(SYS_ftruncate, fd, length);
}

int rename(const char *from, const char *to) {
    FAIL_IF(fault("rename", from));
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
    FAIL_IF(fault("unlink", path));
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    FAIL_IF(fault(flags & O_CREAT ? "create" : "open", path));
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}
