// A merge by selection whose inputs are written to while it looks at them.
#pragma once

#include <array>
#include <limits>
#include <optional>

#include "select/select_pass.h"
#include "stream/executor.h"
#include "stream/failure.h"
#include "stream/plan_check.h"
#include "stream_problem.h"

namespace m2m {

enum class Content { normal, random, nan, equal, zero, few };
constexpr std::array kContents{Content::normal, Content::random, Content::nan, Content::equal, Content::zero, Content::few};

enum class Kind { ties, breadcrumbs, della, sce, fusion };
constexpr std::array kKinds{Kind::ties, Kind::breadcrumbs, Kind::della, Kind::sce, Kind::fusion};

struct Shape {
  std::int64_t rows, columns;

  std::int64_t count() const { return rows * columns; }
};

inline double number(Content content, std::mt19937_64& random) {
  switch (content) {
    case Content::nan:
      return random() % 2 ? std::numeric_limits<double>::quiet_NaN() : -std::numeric_limits<double>::infinity();
    case Content::equal: return 1;
    case Content::zero: return 0;
    case Content::few: return static_cast<double>(random() % 3);
    default: return static_cast<double>(random() % 20001) / 10000 - 1;
  }
}

inline Bytes numbers(Content content, Dtype dtype, std::int64_t count, std::mt19937_64& random) {
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

inline ExpertSpec expert_spec(Kind kind, std::int64_t count) {
  ExpertSpec spec;
  if (kind == Kind::ties || kind == Kind::breadcrumbs) {
    spec.trim = Trim::largest;
    spec.dropped = kind == Kind::breadcrumbs ? count / 20 : 0;
    spec.kept = count / 2;
  } else if (kind == Kind::della) {
    spec.trim = Trim::ranked;
    spec.low = 0.4;
    spec.high = 0.6;
  }
  spec.keeps_norm = spec.trim != Trim::all;
  return spec;
}

inline SelectSpec select_spec(Kind kind, int n_experts, Shape shape) {
  SelectSpec spec;
  spec.combine = kind == Kind::sce ? Combine::energy : kind == Kind::fusion ? Combine::fuse : Combine::elect;
  spec.share = kind == Kind::sce ? 0.5 : 1;
  spec.row = kind == Kind::della || kind == Kind::fusion ? shape.columns : 1;
  spec.experts.assign(n_experts, expert_spec(kind, shape.count()));
  spec.outputs = {{std::vector<double>(n_experts, 0.5), 1}};
  return spec;
}

// One tensor of a base model and its experts, the first of which may be a product of factors.
class ChangingProblem {
 public:
  StreamPlan plan{};
  SelectSpec spec;

  ChangingProblem(const TemporaryFolder& folder, Kind kind, Shape shape, Dtype dtype, bool adapter, std::uint64_t seed)
      : shape_(shape), dtype_(dtype), n_experts_(kind == Kind::fusion ? 1 : 2), random_(seed) {
    constexpr std::int64_t rank = 2;
    spec = select_spec(kind, n_experts_, shape);
    plan.n_outputs = 1;
    for (int n = 0; n <= n_experts_; ++n) {
      plan.input_files.push_back(folder.file("in" + std::to_string(n)));
      plan.inputs.push_back({n, 0, dtype});
    }
    std::int64_t least = shape.count();
    if (adapter) {
      plan.products.push_back(
          {shape.rows, shape.columns, rank, {{1, 0, dtype}, rank, 1}, {{1, shape.rows * rank * 8, dtype}, 1, rank}});
      plan.inputs[1] = {product_input, 0, Dtype::f64};
      least = std::max(least, 4 * (shape.rows + shape.columns) * rank);  // of the narrowest type, and the gap
    }
    plan.tensors.push_back({Rule::merge, shape.count(), n_experts_ + 1, 0});
    plan.output_files.push_back(folder.file("out"));
    plan.outputs.push_back({0, 0, Dtype::f32});
    write_file(plan.output_files[0], Bytes(shape.count() * 4));
    for (int n = 0; n <= n_experts_; ++n) write_file(plan.input_files[n], numbers(Content::normal, dtype, least, random_));
  }

  // Over what is there, as another program would: `count` numbers of an input, from the first on.
  void rewrite(Content content, std::int64_t count) {
    const int n = static_cast<int>(random_() % (n_experts_ + 1));
    const Bytes bytes = numbers(content, dtype_, count, random_);
    std::fstream(plan.input_files[n], std::ios::binary | std::ios::in | std::ios::out)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  void rewrite(Content content) { rewrite(content, shape_.count()); }

 private:
  Shape shape_;
  Dtype dtype_;
  int n_experts_;
  std::mt19937_64 random_;
};

inline std::optional<FailureKind> run_pass(const ChangingProblem& problem, const StreamFiles& files, SelectPass& pass) {
  StreamExecutor executor(problem.plan, files, pass, {2, 16384, {0, 0}, 1});
  while (!executor.wait(1)) {}
  try {
    executor.rethrow();
  } catch (const StreamFailure& failure) {
    if (failure.tensor != 0 || failure.model < 0 || failure.model >= problem.plan.tensors[0].n_inputs) std::abort();
    return failure.kind;
  }
  return std::nullopt;
}

// All looks and the writing; `change` is called before each look with its number.
template <class Change>
std::optional<FailureKind> merge_while(ChangingProblem& problem, SelectOptions options, Change&& change) {
  check_plan(problem.plan);
  const StreamFiles files(problem.plan);
  SelectPass pass(problem.plan, options);
  pass.add(0, problem.spec);
  for (int looks = 0; pass.look(); ++looks) {
    if (looks == 64) std::abort();  // it looks without end
    change(looks);
    if (const auto failed = run_pass(problem, files, pass)) return failed;
  }
  return run_pass(problem, files, pass);
}

}  // namespace m2m
