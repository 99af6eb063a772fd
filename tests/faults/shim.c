// Loaded before libc (LD_PRELOAD): counts the file operations below one folder, in a process and its children, and lets the
// k-th of them fail, fall short, or meet a signal. `file_faults.py` has the other end of `struct Plan`.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST_CALLS = 1 << 16, MOST_FILES = 1 << 16 };
enum Kind { OPEN_OLD = 1, OPEN_NEW, READ, WRITE, SYNC, RENAME, RESIZE, REMOVE, MKDIR, LINK, LIST, MAP, LOCK, CLOSE };
enum Action { COUNT, SIGNAL_BEFORE, SIGNAL_AFTER, FAIL, FALL_SHORT };

struct Plan {
  char folder[1024];
  _Atomic long calls;
  long first, last;       // the calls that are met, from 1 on
  int action, value;      // value: a signal or an errno
  int whole_group;        // whom the signal reaches
  _Atomic int met;        // how many calls were
  unsigned char kinds[MOST_CALLS];
};

static struct Plan *plan;
static _Atomic char watched[MOST_FILES];

__attribute__((constructor)) static void attach(void) {
  const char *path = getenv("M2M_FILE_FAULTS");
  if (path == NULL) return;
  int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
  int (*real_close)(int) = dlsym(RTLD_NEXT, "close");
  const int file = real_open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) abort();
  void *(*real_mmap)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
  plan = real_mmap(NULL, sizeof(struct Plan), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (plan == MAP_FAILED) abort();
  real_close(file);
}

static int inside(int folder, const char *path) {
  if (plan == NULL || path == NULL || plan->folder[0] == 0) return 0;
  const size_t length = strlen(plan->folder);
  char whole[PATH_MAX + 16] = "";
  if (path[0] != '/') {
    if (folder == AT_FDCWD) {
      if (getcwd(whole, PATH_MAX) == NULL) return 0;
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      const ssize_t count = readlink(link, whole, PATH_MAX - 1);
      if (count < 0) return 0;
      whole[count] = 0;
    }
    if (strncmp(whole, plan->folder, length) == 0 && (whole[length] == 0 || whole[length] == '/')) return 1;
    snprintf(whole + strlen(whole), sizeof whole - strlen(whole), "/%s", path);
  } else {
    snprintf(whole, sizeof whole, "%s", path);
  }
  return strncmp(whole, plan->folder, length) == 0 && (whole[length] == 0 || whole[length] == '/');
}

static int is_watched(int file) { return plan != NULL && file >= 0 && file < MOST_FILES && watched[file]; }

static int watch(int file) {
  if (file >= 0 && file < MOST_FILES) watched[file] = 1;
  return file;
}

static void send_signal(void) { kill(plan->whole_group ? 0 : getpid(), plan->value); }

// What becomes of the next call: COUNT to let it be. A signal that comes before the call is sent here.
static enum Action meet(enum Kind kind) {
  const long call = atomic_fetch_add(&plan->calls, 1) + 1;
  if (call <= MOST_CALLS) plan->kinds[call - 1] = (unsigned char)kind;
  if (plan->action == COUNT || call < plan->first || call > plan->last) return COUNT;
  if (kind == CLOSE && plan->action != SIGNAL_BEFORE && plan->action != SIGNAL_AFTER) return COUNT;
  atomic_fetch_add(&plan->met, 1);
  if (plan->action == SIGNAL_BEFORE) send_signal();
  return plan->action;
}

#define REAL(name) __typeof__(&name) real_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
// The call itself, in the middle of what is planned for it.
#define CALL(type, kind, here, expression)                              \
  do {                                                                  \
    if (!(here)) return expression;                                     \
    const enum Action action_ = meet(kind);                             \
    if (action_ == FAIL) return errno = plan->value, (type)-1;          \
    type result_ = expression;                                          \
    const int error_ = errno;                                           \
    if (action_ == SIGNAL_AFTER) send_signal();                         \
    errno = error_;                                                     \
    return result_;                                                     \
  } while (0)
// The same for a call that moves `count` bytes and may move fewer.
#define MOVE(kind, file, count, expression)                             \
  do {                                                                  \
    if (!is_watched(file)) return expression;                           \
    const enum Action action_ = meet(kind);                             \
    if (action_ == FAIL) return errno = plan->value, -1;                \
    if (action_ == FALL_SHORT && count > 1) count = (count + 1) / 2;    \
    const ssize_t result_ = expression;                                 \
    const int error_ = errno;                                           \
    if (action_ == SIGNAL_AFTER) send_signal();                         \
    errno = error_;                                                     \
    return result_;                                                     \
  } while (0)

static enum Kind kind_of_open(int flags) { return (flags & (O_CREAT | O_WRONLY | O_RDWR)) ? OPEN_NEW : OPEN_OLD; }

#define MODE(flags)                                        \
  mode_t mode = 0;                                         \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {                 \
    va_list more;                                          \
    va_start(more, flags);                                 \
    mode = va_arg(more, mode_t);                           \
    va_end(more);                                          \
  }
#define OPEN(name)                                                                                     \
  int name(const char *path, int flags, ...) {                                                         \
    REAL(name);                                                                                        \
    MODE(flags)                                                                                        \
    if (!inside(AT_FDCWD, path)) return real_##name(path, flags, mode);                                \
    CALL(int, kind_of_open(flags), 1, watch(real_##name(path, flags, mode)));                          \
  }
#define OPENAT(name)                                                                                   \
  int name(int folder, const char *path, int flags, ...) {                                             \
    REAL(name);                                                                                        \
    MODE(flags)                                                                                        \
    if (!inside(folder, path)) return real_##name(folder, path, flags, mode);                          \
    CALL(int, kind_of_open(flags), 1, watch(real_##name(folder, path, flags, mode)));                  \
  }
#define FOPEN(name)                                                                                    \
  FILE *name(const char *path, const char *mode) {                                                     \
    REAL(name);                                                                                        \
    if (!inside(AT_FDCWD, path)) return real_##name(path, mode);                                       \
    const enum Action action = meet(mode[0] == 'r' && strchr(mode, '+') == NULL ? OPEN_OLD : OPEN_NEW); \
    if (action == FAIL) return errno = plan->value, NULL;                                              \
    FILE *file = real_##name(path, mode);                                                              \
    if (file != NULL) watch(fileno(file));                                                             \
    if (action == SIGNAL_AFTER) send_signal();                                                         \
    return file;                                                                                       \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

int close(int file) {
  REAL(close);
  if (!is_watched(file)) return real_close(file);
  watched[file] = 0;
  CALL(int, CLOSE, 1, real_close(file));
}

#define READ_AT(name)                                                                   \
  ssize_t name(int file, void *bytes, size_t count, off_t offset) {                     \
    REAL(name);                                                                         \
    MOVE(READ, file, count, real_##name(file, bytes, count, offset));                   \
  }
#define WRITE_AT(name)                                                                  \
  ssize_t name(int file, const void *bytes, size_t count, off_t offset) {               \
    REAL(name);                                                                         \
    MOVE(WRITE, file, count, real_##name(file, bytes, count, offset));                  \
  }
READ_AT(pread)
READ_AT(pread64)
WRITE_AT(pwrite)
WRITE_AT(pwrite64)

ssize_t read(int file, void *bytes, size_t count) {
  REAL(read);
  MOVE(READ, file, count, real_read(file, bytes, count));
}
ssize_t write(int file, const void *bytes, size_t count) {
  REAL(write);
  MOVE(WRITE, file, count, real_write(file, bytes, count));
}
ssize_t readv(int file, const struct iovec *parts, int count) {
  REAL(readv);
  CALL(ssize_t, READ, is_watched(file), real_readv(file, parts, count));
}
ssize_t writev(int file, const struct iovec *parts, int count) {
  REAL(writev);
  CALL(ssize_t, WRITE, is_watched(file), real_writev(file, parts, count));
}
ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
  REAL(sendfile);
  MOVE(WRITE, to, count, real_sendfile(to, from, offset, count));
}
ssize_t sendfile64(int to, int from, off_t *offset, size_t count) {
  REAL(sendfile64);
  MOVE(WRITE, to, count, real_sendfile64(to, from, offset, count));
}
ssize_t copy_file_range(int from, off_t *here, int to, off_t *there, size_t count, unsigned flags) {
  REAL(copy_file_range);
  MOVE(WRITE, to, count, real_copy_file_range(from, here, to, there, count, flags));
}

int fsync(int file) {
  REAL(fsync);
  CALL(int, SYNC, is_watched(file), real_fsync(file));
}
int fdatasync(int file) {
  REAL(fdatasync);
  CALL(int, SYNC, is_watched(file), real_fdatasync(file));
}
int ftruncate(int file, off_t size) {
  REAL(ftruncate);
  CALL(int, RESIZE, is_watched(file), real_ftruncate(file, size));
}
int ftruncate64(int file, off_t size) {
  REAL(ftruncate64);
  CALL(int, RESIZE, is_watched(file), real_ftruncate64(file, size));
}
// These two return the error instead of setting errno.
#define ALLOCATE(name)                                                                  \
  int name(int file, off_t offset, off_t size) {                                        \
    REAL(name);                                                                         \
    if (!is_watched(file)) return real_##name(file, offset, size);                      \
    const enum Action action = meet(RESIZE);                                            \
    if (action == FAIL) return plan->value;                                             \
    const int result = real_##name(file, offset, size);                                 \
    if (action == SIGNAL_AFTER) send_signal();                                          \
    return result;                                                                      \
  }
ALLOCATE(posix_fallocate)
ALLOCATE(posix_fallocate64)

int rename(const char *from, const char *to) {
  REAL(rename);
  CALL(int, RENAME, inside(AT_FDCWD, to), real_rename(from, to));
}
int renameat(int there, const char *from, int here, const char *to) {
  REAL(renameat);
  CALL(int, RENAME, inside(here, to), real_renameat(there, from, here, to));
}
int renameat2(int there, const char *from, int here, const char *to, unsigned flags) {
  REAL(renameat2);
  CALL(int, RENAME, inside(here, to), real_renameat2(there, from, here, to, flags));
}
int unlink(const char *path) {
  REAL(unlink);
  CALL(int, REMOVE, inside(AT_FDCWD, path), real_unlink(path));
}
int unlinkat(int folder, const char *path, int flags) {
  REAL(unlinkat);
  CALL(int, REMOVE, inside(folder, path), real_unlinkat(folder, path, flags));
}
int rmdir(const char *path) {
  REAL(rmdir);
  CALL(int, REMOVE, inside(AT_FDCWD, path), real_rmdir(path));
}
int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  CALL(int, MKDIR, inside(AT_FDCWD, path), real_mkdir(path, mode));
}
int mkdirat(int folder, const char *path, mode_t mode) {
  REAL(mkdirat);
  CALL(int, MKDIR, inside(folder, path), real_mkdirat(folder, path, mode));
}
int link(const char *from, const char *to) {
  REAL(link);
  CALL(int, LINK, inside(AT_FDCWD, to), real_link(from, to));
}
int linkat(int there, const char *from, int here, const char *to, int flags) {
  REAL(linkat);
  CALL(int, LINK, inside(here, to), real_linkat(there, from, here, to, flags));
}
int symlink(const char *to, const char *path) {
  REAL(symlink);
  CALL(int, LINK, inside(AT_FDCWD, path), real_symlink(to, path));
}
int flock(int file, int operation) {
  REAL(flock);
  CALL(int, LOCK, is_watched(file), real_flock(file, operation));
}

DIR *opendir(const char *path) {
  REAL(opendir);
  if (!inside(AT_FDCWD, path)) return real_opendir(path);
  const enum Action action = meet(LIST);
  if (action == FAIL) return errno = plan->value, NULL;
  DIR *folder = real_opendir(path);
  if (action == SIGNAL_AFTER) send_signal();
  return folder;
}

#define MAPPING(name)                                                                                \
  void *name(void *at, size_t size, int protection, int flags, int file, off_t offset) {             \
    REAL(name);                                                                                      \
    CALL(void *, MAP, is_watched(file), real_##name(at, size, protection, flags, file, offset));     \
  }
MAPPING(mmap)
MAPPING(mmap64)
