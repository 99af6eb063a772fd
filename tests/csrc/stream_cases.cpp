// The stream executor against merges computed as the contract reads: however many threads, wherever it was stopped.
#include <optional>

#include "check.h"
#include "stream_executor.h"
#include "stream_failure.h"
#include "stream_merge.h"
#include "stream_plan_check.h"
#include "stream_problem.h"

using namespace m2m;

namespace {

// Runs a plan to its end as Python does: looks at position and counters meanwhile.
std::optional<StreamFailure> run(const StreamProblem& problem, int threads, std::int64_t slot_bytes, StreamPosition start = {0, 0}) {
  const StreamPlan& plan = problem.plan;
  const StreamOptions options{threads, slot_bytes, start, problem.end()};
  check_plan(plan);
  check_weights(problem.weights, plan);
  check_options(options, plan);
  const StreamFiles files(plan);
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

}  // namespace

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
