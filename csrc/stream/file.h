// Files that are read and written at given places, by several threads at once, of which only so many are open at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <string>

namespace m2m {

class StreamFile;

// Descriptors are a budget: the file that was used longest ago is closed for the one that is needed next; one in use is not.
class FilePool {
 public:
  explicit FilePool(int most_open) : most_open_(most_open) {}

 private:
  friend class StreamFile;
  int acquire(const StreamFile& file);  // returns 0, errno, or StreamFile::changed
  void release(const StreamFile& file);
  void close_oldest();

  std::mutex mutex_;  // guards what follows, and the files' descriptors
  std::condition_variable released_;
  std::list<const StreamFile*> idle_;  // open, and used by nobody; used longest ago first
  int most_open_;                      // less where the system grants less
  int open_ = 0;
};

class StreamFile {
 public:
  enum class Mode { read, write };
  static constexpr int changed = -1;  // in place of errno: it is another file than it was when it was opened first

  // It is opened when it is first used, where the tensor is known. The pool outlives it.
  StreamFile(FilePool& pool, const std::string& path, Mode mode) : pool_(pool), path_(path), mode_(mode) {}
  ~StreamFile() { close(); }
  StreamFile(const StreamFile&) = delete;
  StreamFile& operator=(const StreamFile&) = delete;

  // Each returns 0, errno or `changed`. `read` counts in `done` how many bytes there were: fewer than asked means end of file.
  int read(void* buffer, std::int64_t bytes, std::int64_t offset, std::int64_t* done) const;
  int write(const void* buffer, std::int64_t bytes, std::int64_t offset) const;

  // Closes it, while nobody uses it. Returns 0, or errno of a write that the system had put off until it was closed.
  int close() const;

 private:
  friend class FilePool;
  class Loan;
  // What is held against its former self when an input is opened again.
  struct Stand {
    std::uint64_t device, inode;
    std::int64_t size;
    std::int64_t seconds, nanoseconds;  // of its last modification
    bool operator==(const Stand& other) const;
  };

  int open() const;
  void close_descriptor() const;
  bool is_what_it_was() const;

  // Changes as the pool opens and closes the file, which readers and writers do not see. Its mutex guards it.
  struct State {
    int descriptor = -1;
    int users = 0;
    std::list<const StreamFile*>::iterator place;  // among the idle ones
    bool known = false;
    Stand stand{};
    int put_off = 0;  // errno of a write that closing told of
  };

  FilePool& pool_;
  const std::string path_;
  const Mode mode_;
  mutable State state_;
};

using FileList = std::deque<StreamFile>;

}  // namespace m2m
