// An open file that is read and written at given places, by several threads at once.
#pragma once

#include <cstdint>
#include <string>

namespace m2m {

class StreamFile {
 public:
  enum class Mode { read, write };

  // Does not throw: a file that cannot be opened fails when it is first used, where the tensor is known.
  StreamFile(const std::string& path, Mode mode);
  ~StreamFile();
  StreamFile(StreamFile&& other) noexcept;
  StreamFile(const StreamFile&) = delete;
  StreamFile& operator=(const StreamFile&) = delete;

  // Each returns 0 or errno. `read` counts in `done` how many bytes there were: fewer than asked means end of file.
  int read(void* buffer, std::int64_t bytes, std::int64_t offset, std::int64_t* done) const;
  int write(const void* buffer, std::int64_t bytes, std::int64_t offset) const;

 private:
  int descriptor_;
  int open_error_;
};

}  // namespace m2m
