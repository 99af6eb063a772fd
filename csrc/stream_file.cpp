#include "stream_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace m2m {

namespace {

// A signal may interrupt this on file systems over a network, as it may reading and writing.
int open_uninterrupted(const char* path, int flags) {
  int descriptor = 0;
  do descriptor = ::open(path, flags | O_CLOEXEC);
  while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

}  // namespace

StreamFile::StreamFile(const std::string& path, Mode mode)
    : descriptor_(open_uninterrupted(path.c_str(), mode == Mode::read ? O_RDONLY : O_WRONLY)),
      open_error_(descriptor_ < 0 ? errno : 0) {
#if defined(POSIX_FADV_SEQUENTIAL)
  if (mode == Mode::read && descriptor_ >= 0) ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
#endif
}

StreamFile::~StreamFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

StreamFile::StreamFile(StreamFile&& other) noexcept
    : descriptor_(other.descriptor_), open_error_(other.open_error_) {
  other.descriptor_ = -1;
}

int StreamFile::read(void* buffer, std::int64_t bytes, std::int64_t offset, std::int64_t* done) const {
  if (open_error_) return open_error_;
  *done = 0;
  while (*done < bytes) {
    const ssize_t count = ::pread(descriptor_, static_cast<char*>(buffer) + *done, bytes - *done, offset + *done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) return 0;
    *done += count;
  }
  return 0;
}

int StreamFile::write(const void* buffer, std::int64_t bytes, std::int64_t offset) const {
  if (open_error_) return open_error_;
  for (std::int64_t done = 0; done < bytes;) {
    const ssize_t count = ::pwrite(descriptor_, static_cast<const char*>(buffer) + done, bytes - done, offset + done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    done += count;
  }
  return 0;
}

}  // namespace m2m
