// A file's bytes where they lie in the page cache. Reading what a file no longer has kills a process with SIGBUS; here it reads
// zeros, and the file is told as lost.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace m2m {

class MappedFile {
 public:
  // Throws std::system_error. No descriptor stays open.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  void* data() const { return data_; }  // null for an empty file; writing to it changes no file
  std::size_t size() const { return size_; }

 private:
  struct Watch* watch_ = nullptr;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

// Files of which mapped bytes could not be read since this was asked last: they were cut short, or their disk fails.
std::vector<std::string> take_lost_files();

}  // namespace m2m
