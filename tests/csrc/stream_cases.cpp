// The stream executor against merges computed as the contract reads: however many threads, wherever it was stopped.
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <optional>
#include <thread>

#include "check.h"
#include "stream/executor.h"
#include "stream/failure.h"
#include "stream/merge_pass.h"
#include "stream/plan_check.h"
#include "stream_problem.h"

using namespace m2m;

namespace {

// Runs a plan to its end as Python does: looks at position and counters meanwhile.
std::optional<StreamFailure> run(const StreamProblem& problem, int threads, std::int64_t slot_bytes,
                                 StreamPosition start = {0, 0}, int most_open = 1000) {
  const StreamPlan& plan = problem.plan;
  const StreamOptions options{threads, slot_bytes, start, problem.end()};
  check_plan(plan);
  check_weights(problem.weights, plan);
  check_options(options, plan);
  const StreamFiles files(plan, most_open);
  MergePass pass(plan, problem.weights, false);
  StreamExecutor executor(plan, files, pass, options);
  StreamPosition last = executor.position();  // before `start` where chunks are cut otherwise than in the run before
  while (!executor.wait(0.0002)) {
    const StreamPosition now = executor.position();
    CHECK(std::pair(now.tensor, now.element) >= std::pair(last.tensor, last.element), "the position went back");
    CHECK(executor.read_bytes() >= 0 && executor.written_bytes() >= 0, "counters");
    last = now;
  }
  try {
    executor.rethrow();
  } catch (const StreamFailure& failure) {
    return failure;
  }
  CHECK(executor.position().tensor == static_cast<std::int64_t>(plan.tensors.size()), "it ended before the end");
  return std::nullopt;
}

int open_files() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<int>(std::distance(begin(files), end(files)));
}

// The largest number of a descriptor. Opening takes the smallest free one, so that no look meets a larger number than there
// were files open at some moment; their count would be wrong, since files close and open while a look goes on.
int largest_descriptor() {
  int largest = 0;
  for (const auto& file : std::filesystem::directory_iterator("/proc/self/fd"))
    largest = std::max(largest, std::stoi(file.path().filename()));
  return largest;
}

// A pool's files, each of 100 bytes that are its number.
class NumberedFiles {
 public:
  explicit NumberedFiles(int most_open, int count) : pool(most_open) {
    for (int i = 0; i < count; ++i) {
      write_file(folder.file(std::to_string(i)), Bytes(100, static_cast<char>(i)));
      files.emplace_back(pool, folder.file(std::to_string(i)), StreamFile::Mode::read);
    }
  }

  int read(int i) const {
    char bytes[100] = {};
    std::int64_t done = 0;
    const int code = files[i].read(bytes, 100, 0, &done);
    CHECK(code != 0 || (done == 100 && bytes[0] == i && bytes[99] == i), "file %d has other bytes", i);
    return code;
  }

  TemporaryFolder folder;
  FilePool pool;
  FileList files;
};

// So many more files than are open now.
class FileLimit {
 public:
  explicit FileLimit(int more) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit now = before_;
    now.rlim_cur = open_files() - 1 + more;  // looking takes one itself
    ::setrlimit(RLIMIT_NOFILE, &now);
  }
  ~FileLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

}  // namespace

CASE(few_descriptors_are_enough) {
  const TemporaryFolder folder;
  for (int seed = 0; seed < 12; ++seed) {
    for (const int most_open : {1, 2, 3}) {
      StreamProblem problem(folder, seed);
      CHECK(!run(problem, 4, 512, {0, 0}, most_open), "seed %d failed", seed);
      CHECK(problem.is_merged(), "seed %d, %d open at a time", seed, most_open);
    }
  }
}

CASE(no_more_files_are_open_than_the_pool_may) {
  const int before = open_files(), largest_before = largest_descriptor();
  const NumberedFiles numbered(3, 20);
  std::vector<std::thread> readers;
  std::atomic<int> begun{0};
  for (int r = 0; r < 4; ++r)
    readers.emplace_back([&, r] {
      for (++begun; begun < 4;) std::this_thread::yield();
      for (int i = 0; i < 200; ++i) CHECK(numbered.read((i * (r + 1)) % 20) == 0, "reading failed");
    });
  while (begun < 4) std::this_thread::yield();  // a sanitizer reads a file of its own for every thread that begins
  int most = 0;
  for (int i = 0; i < 200; ++i) most = std::max(most, largest_descriptor() - largest_before);
  for (std::thread& reader : readers) reader.join();
  CHECK(most <= 3, "%d were open", most);
  for (const StreamFile& file : numbered.files) CHECK(file.close() == 0, "closing failed");
  CHECK(open_files() == before, "some were left open");
}

CASE(a_file_that_is_another_one_when_it_is_opened_again_is_noticed) {
  for (const bool replaced : {false, true}) {
    const NumberedFiles numbered(1, 2);
    CHECK(numbered.read(0) == 0 && numbered.read(1) == 0 && numbered.read(0) == 0, "reading failed");
    CHECK(numbered.read(1) == 0, "reading failed");
    const std::string path = numbered.folder.file("0");
    if (replaced) {
      write_file(path + "new", Bytes(100, 'x'));
      std::filesystem::rename(path + "new", path);
    } else {
      std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() + std::chrono::seconds(9));
    }
    CHECK(numbered.read(0) == StreamFile::changed, "the other file was read");
    CHECK(numbered.read(1) == 0, "the pool does not go on");
  }
}

CASE(where_the_system_grants_fewer_descriptors_fewer_are_used) {
  const NumberedFiles numbered(1000, 20);
  const FileLimit limit(2);
  for (int i = 0; i < 200; ++i) CHECK(numbered.read(i * 7 % 20) == 0, "reading failed");
}

CASE(where_the_system_grants_no_descriptor_it_says_so) {
  const NumberedFiles numbered(1000, 2);
  {
    const FileLimit limit(0);
    CHECK(numbered.read(0) == EMFILE, "a file was opened");
  }
  CHECK(numbered.read(0) == 0, "reading failed");
}

CASE(streamed_sums_are_those_of_the_contract) {
  const TemporaryFolder folder;
  for (int seed = 0; seed < 25; ++seed) {
    StreamProblem problem(folder, seed);
    for (const int threads : {1, 2, 5}) {
      for (const std::int64_t slot_bytes : {8, 4096, 131072}) {
        if (slot_bytes == 8 && seed >= 4) continue;
        problem.lay_out();
        CHECK(!run(problem, threads, slot_bytes), "seed %d failed", seed);
        CHECK(problem.is_merged(), "seed %d, %d threads, slots of %lld", seed, threads, static_cast<long long>(slot_bytes));
      }
    }
  }
}

CASE(a_stopped_stream_goes_on_where_it_was) {
  const TemporaryFolder folder;
  int resumed = 0;
  for (int seed = 0; seed < 40; ++seed) {
    StreamProblem problem(folder, seed);
    StreamPosition start{};
    {
      const StreamFiles files(problem.plan);
      MergePass pass(problem.plan, problem.weights, false);
      StreamExecutor executor(problem.plan, files, pass, {3, 64, {0, 0}, problem.end()});
      const auto has_begun = [&] { return executor.position().tensor > 0 || executor.position().element > 0; };
      while (!executor.wait(1e-5) && seed % 5 != 0 && !has_begun()) {}
      executor.stop();
      while (!executor.wait(1)) {}
      start = executor.position();
    }
    resumed += start.tensor > 0 || start.element > 0;
    CHECK(!run(problem, 2, 4096, start), "seed %d failed", seed);
    CHECK(problem.is_merged(), "seed %d resumed at %lld, %lld", seed, static_cast<long long>(start.tensor),
          static_cast<long long>(start.element));
  }
  CHECK(resumed >= 32, "only %d streams had begun", resumed);
}

CASE(one_failing_worker_stops_the_others) {
  const TemporaryFolder folder;
  int failures = 0;
  for (int seed = 0; seed < 40; ++seed) {
    StreamProblem problem(folder, seed);
    const std::string& file = problem.plan.input_files[0];
    std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
    const auto failure = run(problem, 4, 64);
    if (!failure) continue;
    ++failures;
    CHECK(failure->kind == FailureKind::shrunk && failure->model == 0, "seed %d: kind %d of model %d", seed,
          static_cast<int>(failure->kind), failure->model);
  }
  CHECK(failures > 20, "only %d of 40 shrunk inputs were noticed", failures);
}

CASE(dropping_a_stream_under_way_ends_its_threads) {
  const TemporaryFolder folder;
  for (int seed = 0; seed < 40; ++seed) {
    StreamProblem problem(folder, seed);
    const StreamFiles files(problem.plan);
    MergePass pass(problem.plan, problem.weights, false);
    StreamExecutor(problem.plan, files, pass, {4, 64, {0, 0}, problem.end()}).wait(1e-4 * (seed % 3));
  }
}
