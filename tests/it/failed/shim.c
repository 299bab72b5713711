/* Makes system calls of one process fail on purpose. Loaded with LD_PRELOAD.
 *
 * STOCKADE_FAULT names a file that says what fails, once it is there: "<call> <end of a path>". A call
 * on a descriptor whose path ends so returns EIO, each time, and the file "<name>.fired" is made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* System calls only: the functions of libc are the ones that are replaced here. */
static long slurp(const char *path, char *text, size_t size) {
  long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  long len = syscall(SYS_read, fd, text, size - 1);
  syscall(SYS_close, fd);
  if (len >= 0) text[len] = 0;
  return len;
}

static int fails(const char *call, int fd) {
  const char *name = getenv("STOCKADE_FAULT");
  char text[256], wanted[32], end[200], link[64], path[512], fired[512];
  if (!name || slurp(name, text, sizeof text) <= 0) return 0;
  if (sscanf(text, "%31s %199s", wanted, end) != 2 || strcmp(wanted, call)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long len = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
  if (len <= 0) return 0;
  path[len] = 0;
  size_t tail = strlen(end);
  if ((size_t)len < tail || strcmp(path + len - tail, end)) return 0;
  snprintf(fired, sizeof fired, "%s.fired", name);
  long mark = syscall(SYS_openat, AT_FDCWD, fired, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (mark >= 0) syscall(SYS_close, mark);
  errno = EIO;
  return 1;
}

int fsync(int fd) { return fails("sync", fd) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails("sync", fd) ? -1 : (int)syscall(SYS_fdatasync, fd); }
ssize_t read(int fd, void *to, size_t size) {
  return fails("read", fd) ? -1 : syscall(SYS_read, fd, to, size);
}
ssize_t pread(int fd, void *to, size_t size, off_t at) {
  return fails("read", fd) ? -1 : syscall(SYS_pread64, fd, to, size, at);
}
ssize_t pread64(int fd, void *to, size_t size, off64_t at) {
  return fails("read", fd) ? -1 : syscall(SYS_pread64, fd, to, size, at);
}
