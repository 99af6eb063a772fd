// Inputs that are written to between two looks of a selecting pass, or during one: the pass fails by name or writes something,
// and never leaves its memory.
#include <array>
#include <atomic>
#include <limits>
#include <optional>
#include <thread>

#include "check.h"
#include "select_pass.h"
#include "stream_executor.h"
#include "stream_plan_check.h"
#include "stream_problem.h"

using namespace m2m;

namespace {

constexpr std::int64_t kRows = 70, kColumns = 1001, kCount = kRows * kColumns;  // more than one segment
constexpr std::int64_t kRank = 2;
constexpr int kExperts = 2, kFiles = kExperts + 1;

enum class Content { normal, random, nan, equal, zero, few };
constexpr std::array kContents{Content::normal, Content::random, Content::nan, Content::equal, Content::zero, Content::few};

enum class Kind { ties, breadcrumbs, della, sce, fusion };
constexpr std::array kKinds{Kind::ties, Kind::breadcrumbs, Kind::della, Kind::sce, Kind::fusion};

double number(Content content, std::mt19937_64& random) {
  switch (content) {
    case Content::nan: return random() % 2 ? std::numeric_limits<double>::quiet_NaN() : -std::numeric_limits<double>::infinity();
    case Content::equal: return 1;
    case Content::zero: return 0;
    case Content::few: return static_cast<double>(random() % 3);
    default: return static_cast<double>(random() % 20001) / 10000 - 1;
  }
}

Bytes numbers(Content content, Dtype dtype, std::int64_t count, std::mt19937_64& random) {
  Bytes bytes(count * size_of(dtype));
  if (content == Content::random) {
    for (char& byte : bytes) byte = static_cast<char>(random());
    return bytes;
  }
  dispatch(dtype, [&](auto tag) {
    auto* stored = reinterpret_cast<typename decltype(tag)::type*>(bytes.data());
    for (std::int64_t i = 0; i < count; ++i) store(number(content, random), stored + i);
  });
  return bytes;
}

ExpertSpec expert_spec(Kind kind) {
  ExpertSpec spec;
  if (kind == Kind::ties || kind == Kind::breadcrumbs) {
    spec.trim = Trim::largest;
    spec.dropped = kind == Kind::breadcrumbs ? kCount / 20 : 0;
    spec.kept = kCount / 2;
  } else if (kind == Kind::della) {
    spec.trim = Trim::ranked;
    spec.low = 0.4;
    spec.high = 0.6;
  }
  spec.keeps_norm = spec.trim != Trim::all;
  return spec;
}

SelectSpec select_spec(Kind kind, int n_experts) {
  SelectSpec spec;
  spec.combine = kind == Kind::sce ? Combine::energy : kind == Kind::fusion ? Combine::fuse : Combine::elect;
  spec.share = kind == Kind::sce ? 0.5 : 1;
  spec.row = kind == Kind::della || kind == Kind::fusion ? kColumns : 1;
  spec.experts.assign(n_experts, expert_spec(kind));
  spec.outputs = {{std::vector<double>(n_experts, 0.5), 1}};
  return spec;
}

// One tensor of a base model and its experts, the first of which may be a product of factors.
class ChangingProblem {
 public:
  StreamPlan plan{};

  ChangingProblem(const TemporaryFolder& folder, Kind kind, Dtype dtype, bool adapter, std::uint64_t seed)
      : kind_(kind), dtype_(dtype), n_experts_(kind == Kind::fusion ? 1 : kExperts), random_(seed) {
    plan.n_outputs = 1;
    for (int n = 0; n <= n_experts_; ++n) {
      plan.input_files.push_back(folder.file("in" + std::to_string(n)));
      plan.inputs.push_back({n, 0, dtype});
    }
    if (adapter) {
      plan.products.push_back({kRows, kColumns, kRank, {{1, 0, dtype}, false}, {{1, kRows * kRank * 8, dtype}, true}});
      plan.inputs[1] = {product_input, 0, Dtype::f64};
    }
    plan.tensors.push_back({Rule::merge, kCount, n_experts_ + 1, 0});
    plan.output_files.push_back(folder.file("out"));
    plan.outputs.push_back({0, 0, Dtype::f32});
    write_file(plan.output_files[0], Bytes(kCount * 4));
    for (int n = 0; n <= n_experts_; ++n) write_file(plan.input_files[n], numbers(Content::normal, dtype, kCount, random_));
  }

  // Over what is there, as another program would.
  void rewrite(Content content, std::int64_t count = kCount) {
    const int n = static_cast<int>(random_() % (n_experts_ + 1));
    const Bytes bytes = numbers(content, dtype_, count, random_);
    std::fstream(plan.input_files[n], std::ios::binary | std::ios::in | std::ios::out)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  SelectSpec spec() const { return select_spec(kind_, n_experts_); }

 private:
  Kind kind_;
  Dtype dtype_;
  int n_experts_;
  std::mt19937_64 random_;
};

std::optional<FailureKind> run_pass(const ChangingProblem& problem, const StreamFiles& files, SelectPass& pass) {
  StreamExecutor executor(problem.plan, files, pass, {2, 16384, {0, 0}, 1});
  while (!executor.wait(1)) {}
  try {
    executor.rethrow();
  } catch (const StreamFailure& failure) {
    CHECK(failure.tensor == 0 && failure.model >= 0 && failure.model < problem.plan.tensors[0].n_inputs, "failure in no input");
    return failure.kind;
  }
  return std::nullopt;
}

// All looks and the writing, with something done after look number `when`.
template <class Change>
std::optional<FailureKind> merge(ChangingProblem& problem, int digit_bits, bool allow_nonfinite, int when, Change&& change) {
  check_plan(problem.plan);
  const StreamFiles files(problem.plan);
  SelectPass pass(problem.plan, {allow_nonfinite, digit_bits, 0});
  pass.add(0, problem.spec());
  for (int looks = 0; pass.look(); ++looks) {
    CHECK(looks < 64, "it looks without end");
    if (looks == when) change();
    if (const auto failed = run_pass(problem, files, pass)) return failed;
  }
  return run_pass(problem, files, pass);
}

}  // namespace

CASE(inputs_that_change_between_looks_are_noticed_or_written_but_never_followed) {
  const TemporaryFolder folder;
  int changed = 0, finished = 0;
  std::uint64_t seed = 0;
  for (const Kind kind : kKinds) {
    for (const Content content : kContents) {
      for (const int when : {1, 2, 4}) {
        const Dtype dtype = static_cast<Dtype>(seed % 4);
        ChangingProblem problem(folder, kind, dtype, seed % 3 == 0, seed);
        const auto failed =
            merge(problem, seed % 2 ? 8 : 12, seed % 5 == 0, when, [&] { problem.rewrite(content); });
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
    ChangingProblem problem(folder, kKinds[seed % kKinds.size()], Dtype::f32, seed % 2 == 0, seed);
    std::atomic<bool> done{false};
    std::thread writer([&] {
      for (std::size_t i = seed; !done; ++i) problem.rewrite(kContents[i % kContents.size()], 1 + i * 997 % kCount);
    });
    merge(problem, 8, true, -1, [] {});
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
        ChangingProblem problem(folder, kind, static_cast<Dtype>(seed % 4), seed % 3 == 0, seed);
        problem.rewrite(content);
        const auto failed = merge(problem, digit_bits, true, -1, [] {});
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
  const SelectSpec spec = select_spec(Kind::ties, 1);
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
