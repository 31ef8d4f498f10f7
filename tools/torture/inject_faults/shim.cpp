// Faults in the calls that a process makes under one folder, by preloading: counts them, and at the n-th of a
// kind fails it, tears it or kills the process; or records them, for what a power loss would have left.
//
// INJECT_ROOT   absolute path of the folder; calls elsewhere are left alone
// INJECT_STATE  file that all processes of a command map: the lock and the counts
// INJECT_FAULT  "kind n action errno": action once, on (that call and all later ones of its kind), before, after
//               (the whole group is killed), tear (half of a write, then killed)
// INJECT_LOG    file that gets every change, in order (see durable.py)
//
// Seen is what goes through the C library. What is written through mmap is not, and nothing here writes so; nor is
// the rename inside safetensors' own saving, which asks the kernel itself: later records name the file's new path.

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace {

const char* const kKinds[] = {"open", "read", "write", "fsync", "rename", "unlink", "link", "mkdir", "truncate"};
enum Kind { kOpen, kRead, kWrite, kFsync, kRename, kUnlink, kLink, kMkdir, kTruncate, kCount };
enum Action { kNothing, kOnce, kOn, kBefore, kAfter, kTear };

struct State {
  std::atomic<int32_t> lock;
  std::atomic<int32_t> fired;
  std::atomic<int64_t> counts[kCount];
};

// Not a std::string: those are constructed after `begin` has run.
char root[PATH_MAX];
size_t root_size = 0;
State* state = nullptr;
int log_fd = -1;
Kind fault_kind = kCount;
Action fault_action = kNothing;
int64_t fault_at = 0;
int fault_errno = 0;

template <typename F>
F next(F, const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}
// The library's own function, looked up once.
#define REAL(name)                               \
  static auto* const real = next(&::name, #name)

bool below_root(const std::string& path) {
  return path.size() > root_size && path.compare(0, root_size, root) == 0 && path[root_size] == '/';
}

std::string of_descriptor(int fd) {
  char link[64], target[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, target, sizeof target);
  return size > 0 ? std::string(target, size) : std::string();
}

std::string absolute(int folder, const char* path) {
  if (path[0] == '/') return path;
  char here[PATH_MAX];
  if (folder == AT_FDCWD) return getcwd(here, sizeof here) ? std::string(here) + "/" + path : std::string();
  return of_descriptor(folder) + "/" + path;
}

// The path of a file or folder under the root that is open as `fd`; else empty.
std::string watched(int fd, uint64_t* inode) {
  struct stat about;
  if (!state || fd < 0 || fstat(fd, &about) != 0 || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return {};
  const std::string path = of_descriptor(fd);
  *inode = about.st_ino;
  return below_root(path) || path == root ? path : std::string();
}

uint64_t inode_of(const char* path) {
  struct stat about;
  return lstat(path, &about) == 0 ? about.st_ino : 0;
}

class Locked {
 public:
  Locked() {
    int32_t free = 0;
    while (!state->lock.compare_exchange_weak(free, 1)) {
      free = 0;
      sched_yield();
    }
  }
  ~Locked() { state->lock.store(0); }
};

void end_group() {
  kill(0, SIGKILL);
  pause();
}

// Counts a call. Returns what to do to it, having set errno where it fails; kills what dies before it.
Action meet(Kind kind) {
  const int64_t number = ++state->counts[kind];
  if (kind != fault_kind || fault_action == kNothing) return kNothing;
  if (fault_action == kOn ? number < fault_at : number != fault_at) return kNothing;
  state->fired.store(1);
  if (fault_action == kBefore) end_group();
  errno = fault_errno;
  return fault_action;
}

void leave(Action action) {
  const int kept = errno;
  if (action == kAfter || action == kTear) end_group();
  errno = kept;
}

// One change: kind letter, inode, a number, two texts or a text and bytes.
void record(char what, uint64_t inode, int64_t number, const std::string& first, const void* data, size_t size) {
  if (log_fd < 0) return;
  const int kept = errno;
  struct __attribute__((packed)) {
    char what;
    uint64_t inode;
    int64_t number;
    uint32_t first, second;
  } head = {what, inode, number, uint32_t(first.size()), uint32_t(size)};
  struct iovec parts[] = {{&head, sizeof head},
                          {const_cast<char*>(first.data()), first.size()},
                          {const_cast<void*>(data), size}};
  REAL(writev);
  if (real(log_fd, parts, 3) < 0) abort();
  errno = kept;
}

void record(char what, uint64_t inode, const std::string& first, const std::string& second = {}) {
  record(what, inode, 0, first, second.data(), second.size());
}

template <typename Call>
int open_with(int folder, const char* path, int flags, Call call) {
  const std::string name = state && path ? absolute(folder, path) : std::string();
  if (!state || !(below_root(name) || name == root)) return call();
  Locked locked;
  const Action action = meet(kOpen);
  if (action == kOnce || action == kOn) return -1;
  const uint64_t before = inode_of(name.c_str());
  const int fd = call();
  if (fd >= 0) {
    const uint64_t inode = inode_of(name.c_str());
    if ((flags & O_CREAT) && !before) record('c', inode, name);
    if ((flags & O_TRUNC) && before) record('t', inode, 0, name, nullptr, 0);
  }
  leave(action);
  return fd;
}

template <typename Call>
int change(Kind kind, char what, const std::string& first, const std::string& second, Call call) {
  if (!state || !(below_root(first) || below_root(second))) return call();
  Locked locked;
  const Action action = meet(kind);
  if (action == kOnce || action == kOn) return -1;
  uint64_t inode = what == 'r' ? inode_of(first.c_str()) : 0;
  const int result = call();
  if (what == 'm') inode = inode_of(first.c_str());
  if (result == 0) record(what, inode, first, second);
  leave(action);
  return result;
}

template <typename Call>
int on_file(Kind kind, char what, int fd, int64_t number, Call call) {
  uint64_t inode = 0;
  const std::string path = watched(fd, &inode);
  if (path.empty()) return call();
  Locked locked;
  const Action action = meet(kind);
  if (action == kOnce || action == kOn) return -1;
  const int result = call();
  if (result == 0) record(what, inode, number, path, nullptr, 0);
  leave(action);
  return result;
}

// at: -1 for the file's own position.
template <typename Call>
ssize_t write_with(int fd, const void* data, size_t size, int64_t at, Call call) {
  uint64_t inode = 0;
  const std::string path = watched(fd, &inode);
  if (path.empty()) return call(size);
  Locked locked;
  const Action action = meet(kWrite);
  if (action == kOnce || action == kOn) return -1;
  struct stat about;
  if (at < 0 && (fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &about) == 0) at = about.st_size;
  if (at < 0) at = lseek(fd, 0, SEEK_CUR);
  const ssize_t done = call(action == kTear ? size / 2 : size);
  if (done > 0) record('w', inode, at, path, data, done);
  leave(action);
  return done;
}

template <typename Call>
ssize_t read_with(int fd, Call call) {
  uint64_t inode = 0;
  if (watched(fd, &inode).empty()) return call();
  const Action action = meet(kRead);
  if (action == kOnce || action == kOn) return -1;
  const ssize_t done = call();
  leave(action);
  return done;
}

int mode_of(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; }

}  // namespace

extern "C" {

// Reads the settings from the environment anew: a process that was forked ready calls it.
void inject_begin() {
  const char* folder = getenv("INJECT_ROOT");
  const char* file = getenv("INJECT_STATE");
  if (!folder || !file) return;
  const int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(State)) != 0) abort();
  void* shared = mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (shared == MAP_FAILED) abort();
  if (const char* log = getenv("INJECT_LOG")) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (const char* fault = getenv("INJECT_FAULT")) {
    const char* const actions[] = {"", "once", "on", "before", "after", "tear"};
    char kind[16], action[16];
    long at = 0;
    if (sscanf(fault, "%15s %ld %15s %d", kind, &at, action, &fault_errno) < 3) abort();
    for (int i = 0; i < kCount; i++)
      if (!strcmp(kind, kKinds[i])) fault_kind = Kind(i);
    for (int i = 0; i < 6; i++)
      if (!strcmp(action, actions[i])) fault_action = Action(i);
    fault_at = at;
  }
  root_size = strlen(strncpy(root, folder, sizeof root - 1));
  state = static_cast<State*>(shared);
}

__attribute__((constructor)) static void begin() { inject_begin(); }

#define OPEN(name)                                                                         \
  int name(const char* path, int flags, ...) {                                             \
    REAL(name);                                                                            \
    va_list more;                                                                          \
    va_start(more, flags);                                                                 \
    const int mode = mode_of(flags, more);                                                 \
    va_end(more);                                                                          \
    return open_with(AT_FDCWD, path, flags, [&] { return real(path, flags, mode); });      \
  }
#define OPENAT(name)                                                                          \
  int name(int folder, const char* path, int flags, ...) {                                    \
    REAL(name);                                                                               \
    va_list more;                                                                             \
    va_start(more, flags);                                                                    \
    const int mode = mode_of(flags, more);                                                    \
    va_end(more);                                                                             \
    return open_with(folder, path, flags, [&] { return real(folder, path, flags, mode); });   \
  }
OPEN(open)
OPENAT(openat)

ssize_t read(int fd, void* data, size_t size) {
  REAL(read);
  return read_with(fd, [&] { return real(fd, data, size); });
}

ssize_t pread(int fd, void* data, size_t size, off_t at) {
  REAL(pread);
  return read_with(fd, [&] { return real(fd, data, size, at); });
}

ssize_t write(int fd, const void* data, size_t size) {
  REAL(write);
  return write_with(fd, data, size, -1, [&](size_t most) { return real(fd, data, most); });
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  REAL(pwrite);
  return write_with(fd, data, size, at, [&](size_t most) { return real(fd, data, most, at); });
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  REAL(writev);
  uint64_t inode = 0;
  if (watched(fd, &inode).empty()) return real(fd, parts, count);
  std::string all;
  for (int i = 0; i < count; i++) all.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
  return write(fd, all.data(), all.size());
}

int fsync(int fd) {
  REAL(fsync);
  return on_file(kFsync, 'f', fd, 0, [&] { return real(fd); });
}

int fdatasync(int fd) {
  REAL(fdatasync);
  return on_file(kFsync, 'f', fd, 0, [&] { return real(fd); });
}

int ftruncate(int fd, off_t size) {
  REAL(ftruncate);
  return on_file(kTruncate, 't', fd, size, [&] { return real(fd, size); });
}

int rename(const char* from, const char* to) {
  REAL(rename);
  return change(kRename, 'r', absolute(AT_FDCWD, from), absolute(AT_FDCWD, to), [&] { return real(from, to); });
}

int renameat(int a, const char* from, int b, const char* to) {
  REAL(renameat);
  return change(kRename, 'r', absolute(a, from), absolute(b, to), [&] { return real(a, from, b, to); });
}

int renameat2(int a, const char* from, int b, const char* to, unsigned flags) {
  REAL(renameat2);
  return change(kRename, 'r', absolute(a, from), absolute(b, to), [&] { return real(a, from, b, to, flags); });
}

int unlink(const char* path) {
  REAL(unlink);
  return change(kUnlink, 'u', absolute(AT_FDCWD, path), "", [&] { return real(path); });
}

int unlinkat(int folder, const char* path, int flags) {
  REAL(unlinkat);
  return change(kUnlink, 'u', absolute(folder, path), "", [&] { return real(folder, path, flags); });
}

int rmdir(const char* path) {
  REAL(rmdir);
  return change(kUnlink, 'u', absolute(AT_FDCWD, path), "", [&] { return real(path); });
}

int link(const char* from, const char* to) {
  REAL(link);
  return change(kLink, 'l', absolute(AT_FDCWD, from), absolute(AT_FDCWD, to), [&] { return real(from, to); });
}

int linkat(int a, const char* from, int b, const char* to, int flags) {
  REAL(linkat);
  return change(kLink, 'l', absolute(a, from), absolute(b, to), [&] { return real(a, from, b, to, flags); });
}

int mkdir(const char* path, mode_t mode) {
  REAL(mkdir);
  return change(kMkdir, 'm', absolute(AT_FDCWD, path), "", [&] { return real(path, mode); });
}

int mkdirat(int folder, const char* path, mode_t mode) {
  REAL(mkdirat);
  return change(kMkdir, 'm', absolute(folder, path), "", [&] { return real(folder, path, mode); });
}

// glibc's names for 64-bit offsets, which on this ABI are the same, and its checked variants.
int open64(const char*, int, ...) __attribute__((alias("open")));
int __open_2(const char* path, int flags) { return open(path, flags); }
int __open64_2(const char* path, int flags) { return open(path, flags); }
int openat64(int, const char*, int, ...) __attribute__((alias("openat")));
ssize_t pread64(int, void*, size_t, off_t) __attribute__((alias("pread")));
ssize_t pwrite64(int, const void*, size_t, off_t) __attribute__((alias("pwrite")));
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));

}  // extern "C"
