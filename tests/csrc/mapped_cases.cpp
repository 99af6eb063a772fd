// Mapped files that are cut short while they are read: zeros, and a word about it, in place of a signal.
#include "stream/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>

#include "check.h"
#include "stream_problem.h"

using namespace m2m;

namespace {

constexpr std::size_t kSize = 1 << 20;

std::size_t count_of(const MappedFile& file, char wanted) {
  std::size_t found = 0;
  const volatile char* bytes = static_cast<const char*>(file.data());
  for (std::size_t i = 0; i < file.size(); ++i) found += bytes[i] == wanted;
  return found;
}

// How a child ends that does something.
template <class Do>
int status_after(Do&& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    act();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace

CASE(a_file_that_is_cut_short_reads_as_zeros_and_is_told) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a"), other = folder.file("b");
  write_file(path, Bytes(kSize, 'x'));
  write_file(other, Bytes(kSize, 'x'));
  MappedFile file(path);
  const MappedFile whole(other);
  CHECK(count_of(file, 'x') == kSize && take_lost_files().empty(), "it is whole");
  static_cast<char*>(file.data())[5] = 'y';
  CHECK(read_file(path)[5] == 'x', "writing to it changed the file");
  std::filesystem::resize_file(path, 10000);
  std::thread([&] { CHECK(count_of(file, 'x') < 3 * 4096, "where do they come from?"); }).join();
  CHECK(count_of(whole, 'x') == kSize, "the other file was touched");
  CHECK(take_lost_files() == std::vector<std::string>{path}, "it was not told");
  CHECK(take_lost_files().empty(), "it was told twice");
}

CASE(a_loss_is_told_after_the_file_was_unmapped) {
  const TemporaryFolder folder;
  for (int again = 0; again < 3; ++again) {
    write_file(folder.file("a"), Bytes(kSize, 'x'));
    {
      const MappedFile file(folder.file("a"));
      std::filesystem::resize_file(folder.file("a"), 0);
      CHECK(count_of(file, 'x') == 0, "the file is empty");
    }
    CHECK(take_lost_files().size() == 1, "it was not told");
  }
}

CASE(no_descriptor_stays_open) {
  const TemporaryFolder folder;
  write_file(folder.file("a"), Bytes(10, 'x'));
  const int before = ::open("/dev/null", O_RDONLY);
  const MappedFile file(folder.file("a"));
  const int after = ::open("/dev/null", O_RDONLY);
  CHECK(after == before + 1, "%d after %d", after, before);
}

CASE(other_bus_errors_are_whose_they_were) {
  const TemporaryFolder folder;
  write_file(folder.file("a"), Bytes(10, 'x'));
  ::signal(SIGBUS, SIG_DFL);
  const MappedFile file(folder.file("a"));
  const int sent = status_after([] { ::raise(SIGBUS); });
  CHECK(WIFSIGNALED(sent) && WTERMSIG(sent) == SIGBUS, "status %d", sent);
  write_file(folder.file("b"), Bytes(kSize, 'x'));
  const int foreign = status_after([&] {
    const int descriptor = ::open(folder.file("b").c_str(), O_RDONLY);
    const volatile char* bytes = static_cast<const char*>(::mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE, descriptor, 0));
    std::filesystem::resize_file(folder.file("b"), 0);
    static_cast<void>(bytes[kSize / 2]);
  });
  CHECK(WIFSIGNALED(foreign) && WTERMSIG(foreign) == SIGBUS, "status %d", foreign);
}

CASE(what_cannot_be_mapped_is_said) {
  const TemporaryFolder folder;
  write_file(folder.file("empty"), {});
  CHECK(MappedFile(folder.file("empty")).size() == 0, "it is empty");
  for (const std::string& path : {folder.file("none"), folder.file("")}) {
    try {
      MappedFile file(path);
      CHECK(false, "%s was mapped", path.c_str());
    } catch (const std::system_error& error) {
      CHECK(error.code().value() == ENOENT || error.code().value() == ENODEV, "%d", error.code().value());
    }
  }
}
