#include "stream/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace m2m {

// ---- the pool ----

int FilePool::acquire(const StreamFile& file) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (file.state_.descriptor >= 0) {
      if (file.state_.users++ == 0) idle_.erase(file.state_.place);
      return 0;
    }
    if (open_ < most_open_) {
      const int code = file.open();
      if (code == 0) {
        ++open_;
        file.state_.users = 1;
        return 0;
      }
      if ((code != EMFILE && code != ENFILE) || open_ == 0) return code;
      most_open_ = open_;  // the rest of the process, or of the system, needs the others
    } else if (!idle_.empty()) {
      close_oldest();
    } else {
      released_.wait(lock);  // a worker uses one file at a time, so that waiting ends
    }
  }
}

void FilePool::release(const StreamFile& file) {
  const std::lock_guard lock(mutex_);
  if (--file.state_.users > 0) return;
  file.state_.place = idle_.insert(idle_.end(), &file);
  released_.notify_one();
}

void FilePool::close_oldest() {
  const StreamFile* oldest = idle_.front();
  idle_.pop_front();
  oldest->close_descriptor();
  --open_;
}

// ---- a file ----

bool StreamFile::Stand::operator==(const Stand& other) const {
  return device == other.device && inode == other.inode && size == other.size && seconds == other.seconds &&
         nanoseconds == other.nanoseconds;
}

int StreamFile::open() const {
  const int flags = (mode_ == Mode::read ? O_RDONLY : O_WRONLY) | O_CLOEXEC;
  // A signal may interrupt this on file systems over a network, as it may reading and writing.
  do state_.descriptor = ::open(path_.c_str(), flags);
  while (state_.descriptor < 0 && errno == EINTR);
  if (state_.descriptor < 0) return errno;
  if (mode_ == Mode::write) return 0;
  if (!is_what_it_was()) {
    close_descriptor();
    return changed;
  }
#if defined(POSIX_FADV_SEQUENTIAL)
  ::posix_fadvise(state_.descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
#endif
  return 0;
}

bool StreamFile::is_what_it_was() const {
  struct stat status;
  if (::fstat(state_.descriptor, &status) != 0) return true;  // reading will say what is wrong
  const timespec modified = status.st_mtim;
  const Stand stand{static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino), status.st_size,
                    modified.tv_sec, modified.tv_nsec};
  if (!state_.known) state_.stand = stand;
  state_.known = true;
  return stand == state_.stand;
}

void StreamFile::close_descriptor() const {
  if (::close(state_.descriptor) != 0 && errno != EINTR && state_.put_off == 0) state_.put_off = errno;
  state_.descriptor = -1;
}

int StreamFile::close() const {
  const std::lock_guard lock(pool_.mutex_);
  if (state_.descriptor >= 0) {
    pool_.idle_.erase(state_.place);
    close_descriptor();
    --pool_.open_;
  }
  return state_.put_off;
}

// Holds a file open.
class StreamFile::Loan {
 public:
  explicit Loan(const StreamFile& file) : file_(file), code_(file_.pool_.acquire(file_)) {}
  ~Loan() {
    if (code_ == 0) file_.pool_.release(file_);
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  int code() const { return code_; }
  int descriptor() const { return file_.state_.descriptor; }

 private:
  const StreamFile& file_;
  const int code_;
};

int StreamFile::read(void* buffer, std::int64_t bytes, std::int64_t offset, std::int64_t* done) const {
  *done = 0;
  const Loan loan(*this);
  if (loan.code()) return loan.code();
  while (*done < bytes) {
    const ssize_t count = ::pread(loan.descriptor(), static_cast<char*>(buffer) + *done, bytes - *done, offset + *done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) return 0;
    *done += count;
  }
  return 0;
}

int StreamFile::write(const void* buffer, std::int64_t bytes, std::int64_t offset) const {
  const Loan loan(*this);
  if (loan.code()) return loan.code();
  for (std::int64_t done = 0; done < bytes;) {
    const ssize_t count = ::pwrite(loan.descriptor(), static_cast<const char*>(buffer) + done, bytes - done, offset + done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    done += count;
  }
  return 0;
}

}  // namespace m2m
