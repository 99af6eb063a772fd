// Inputs that are written to between two looks of a selecting pass, or during one: the pass fails by name or writes something,
// and never leaves its memory.
#include <atomic>
#include <thread>

#include "changing_problem.h"
#include "check.h"

using namespace m2m;

namespace {

constexpr Shape kShape{70, 1001};  // more than one segment

}  // namespace

CASE(inputs_that_change_between_looks_are_noticed_or_written_but_never_followed) {
  const TemporaryFolder folder;
  int changed = 0, finished = 0;
  std::uint64_t seed = 0;
  for (const Kind kind : kKinds) {
    for (const Content content : kContents) {
      for (const int when : {1, 2, 4}) {
        const Dtype dtype = static_cast<Dtype>(seed % 4);
        ChangingProblem problem(folder, kind, kShape, dtype, seed % 3 == 0, seed);
        const SelectOptions options{seed % 5 == 0, seed % 2 ? 8 : 12, 0, seed % 3 ? 500 : 0, 0};
        const auto failed = merge_while(problem, options, [&](int look) {
          if (look == when) problem.rewrite(content);
        });
        changed += failed == FailureKind::changed;
        finished += !failed;
        ++seed;
      }
    }
  }
  CHECK(changed >= 10, "only %d changes were noticed", changed);
  CHECK(finished >= 5, "only %d merges came to their end", finished);
}

CASE(inputs_that_change_during_a_look_are_noticed_or_written_but_never_followed) {
  const TemporaryFolder folder;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    ChangingProblem problem(folder, kKinds[seed % kKinds.size()], kShape, Dtype::f32, seed % 2 == 0, seed);
    std::atomic<bool> done{false};
    std::thread writer([&] {
      for (std::size_t i = seed; !done; ++i) problem.rewrite(kContents[i % kContents.size()], 1 + i * 997 % kShape.count());
    });
    merge_while(problem, {true, 8, 0, seed % 3 ? 500 : 0, 0}, [](int) {});
    done = true;
    writer.join();
  }
}

CASE(an_input_that_stays_as_it_is_is_not_said_to_have_changed) {
  const TemporaryFolder folder;
  std::uint64_t seed = 0;
  for (const Kind kind : kKinds) {
    for (const Content content : {Content::normal, Content::equal, Content::zero, Content::few}) {
      for (const int digit_bits : {8, 12}) {
        ChangingProblem problem(folder, kind, kShape, static_cast<Dtype>(seed % 4), seed % 3 == 0, seed);
        problem.rewrite(content);
        const auto failed = merge_while(problem, {true, digit_bits, 0, digit_bits == 8 ? 500 : 0, 0}, [](int) {});
        CHECK(!failed, "seed %d failed with kind %d", static_cast<int>(seed), static_cast<int>(*failed));
        ++seed;
      }
    }
  }
}

CASE(more_keys_than_were_counted_are_not_kept) {
  RankSearch search(100, 63, 8, 100);
  search.set_rank(50);
  search.begin_look();
  CHECK(search.digit().gathers, "few keys are gathered");
  search.gather(std::vector<std::uint64_t>(100, 1), 0);
  bool refused = false;
  try {
    search.gather({1}, 100);
  } catch (const LooksDiffer&) {
    refused = true;
  }
  CHECK(refused, "key 101 of 100 was kept");
}

CASE(a_cut_that_is_no_longer_where_it_was_counted_is_noticed) {
  const std::vector<float> base(600), expert(600, 1.0f);
  const SelectInputs inputs{Dtype::f32, 0, 600, base.data(), {expert.data()}};
  const SelectSpec spec = select_spec(Kind::ties, 1, kShape);
  SelectScratch<float> scratch;
  SelectChunk<float> chunk(inputs, spec, scratch);
  const std::uint64_t key = bit_cast<std::uint32_t>(1.0f);
  CHECK(chunk.magnitude_edge(0, {key, 0, 600}).cut == 600, "600 are equal");
  bool refused = false;
  try {
    chunk.magnitude_edge(0, {key, 0, 601});
  } catch (const LooksDiffer&) {
    refused = true;
  }
  CHECK(refused, "the 601st was found among 600");
}
