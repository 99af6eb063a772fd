#include "stream/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <system_error>

namespace m2m {

// What the signal handler may look at. Watches are never freed, only used again: it may run at any moment.
struct Watch {
  std::atomic<std::uintptr_t> begin{0};  // 0: free
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> lost{false};
  std::string path;  // not the handler's
  Watch* next = nullptr;
};

namespace {

std::atomic<Watch*> watches{nullptr};
std::mutex mutex;  // guards who owns a watch, paths and `closed_lost`
std::vector<std::string> closed_lost;
struct sigaction before_ours;

// Puts zeros where the file ended, up to the end of its mapping.
void on_bus_error(int signal, siginfo_t* info, void*) {
  const int kept_errno = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (Watch* watch = watches.load(); info->si_code > 0 && watch != nullptr; watch = watch->next) {
    const std::uintptr_t begin = watch->begin.load(), end = watch->end.load();
    if (begin == 0 || address < begin || address >= end) continue;
    const std::uintptr_t page = address - address % static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    void* zeros = ::mmap(reinterpret_cast<void*>(page), end - page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (zeros == MAP_FAILED) break;
    watch->lost = true;
    errno = kept_errno;
    return;
  }
  ::sigaction(SIGBUS, &before_ours, nullptr);  // not ours: whoever was there before us sees it again
  if (info->si_code <= 0) ::raise(signal);     // sent by somebody; a fault comes again by itself
}

void handle_bus_errors() {
  static const bool once = [] {
    struct sigaction ours{};
    ours.sa_sigaction = on_bus_error;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&ours.sa_mask);
    return ::sigaction(SIGBUS, &ours, &before_ours) == 0;
  }();
  static_cast<void>(once);
}

Watch* free_watch() {
  for (Watch* watch = watches.load(); watch != nullptr; watch = watch->next)
    if (watch->begin == 0) return watch;
  Watch* added = new Watch;
  added->next = watches.load();
  watches = added;
  return added;
}

Watch* watch_over(void* data, std::size_t size, const std::string& path) {
  handle_bus_errors();
  const std::lock_guard lock(mutex);
  Watch* watch = free_watch();
  watch->path = path;
  watch->lost = false;
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  watch->end = begin + size;
  watch->begin = begin;
  return watch;
}

std::system_error system_error(int code, const std::string& path) { return {code, std::generic_category(), path}; }

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  int descriptor = 0;
  do descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) throw system_error(errno, path);
  struct stat status{};
  int code = ::fstat(descriptor, &status) == 0 ? 0 : errno;
  if (code == 0 && status.st_size > 0) {
    size_ = static_cast<std::size_t>(status.st_size);
    data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
    if (data_ == MAP_FAILED) code = errno;
  }
  ::close(descriptor);
  if (code) throw system_error(code, path);
  if (data_ != nullptr) watch_ = watch_over(data_, size_, path);
}

MappedFile::~MappedFile() {
  if (watch_ == nullptr) return;
  const std::lock_guard lock(mutex);
  if (watch_->lost) closed_lost.push_back(watch_->path);
  watch_->begin = 0;  // before another mapping may lie there
  ::munmap(data_, size_);
}

std::vector<std::string> take_lost_files() {
  const std::lock_guard lock(mutex);
  std::vector<std::string> lost;
  lost.swap(closed_lost);
  for (Watch* watch = watches.load(); watch != nullptr; watch = watch->next)
    if (watch->begin != 0 && watch->lost.exchange(false)) lost.push_back(watch->path);
  return lost;
}

}  // namespace m2m
