// Runs mutated plans over mutated files: each must be refused, fail by name, or succeed; the sanitizers watch over the rest.
#include <stdexcept>

#include "driver.h"
#include "stream/executor.h"
#include "stream/failure.h"
#include "stream/merge_pass.h"
#include "stream/plan_check.h"
#include "stream_problem.h"

using namespace m2m;

namespace {

class Mutation {
 public:
  Mutation(StreamProblem& problem, StreamOptions& options)
      : plan_(problem.plan), weights_(problem.weights), options_(options), draws_(problem.draws) {}

  void apply() {
    switch (pick(13)) {
      case 0: return place(one_of(plan_.inputs));
      case 1: return place(one_of(plan_.outputs));
      case 2: return tensor(one_of(plan_.tensors));
      case 3: return block();
      case 4: return product();
      case 5: return options();
      case 6: return shorten(plan_.input_files);
      case 7: return shorten(plan_.output_files);
      case 8: return replace_file();
      case 9: return drop();
      case 10: return adapted();
      case 11: return gathered();
      default: return set(plan_.n_outputs);
    }
  }

 private:
  int pick(std::size_t n) { return draws_.pick(n); }

  template <class T>
  T& one_of(std::vector<T>& all) {
    return all[pick(all.size())];
  }

  // A number at an edge, a small one, or one close to what stood there.
  template <class T>
  void set(T& number) {
    static const std::int64_t edges[] = {0,
                                         1,
                                         -1,
                                         7,
                                         8,
                                         4096,
                                         1 << 16,
                                         std::int64_t{1} << 31,
                                         std::int64_t{1} << 40,
                                         std::int64_t{1} << 59,
                                         std::int64_t{1} << 62,
                                         INT64_MAX,
                                         INT64_MIN};
    const auto old = static_cast<std::uint64_t>(static_cast<std::int64_t>(number));
    const std::uint64_t choices[] = {static_cast<std::uint64_t>(edges[pick(std::size(edges))]),
                                     draws_() % 9000,
                                     old + 1,
                                     old - 1,
                                     old * 2,
                                     old ^ (std::uint64_t{1} << pick(63))};
    number = static_cast<T>(choices[pick(std::size(choices))]);
  }

  void dtype(Dtype& value) { value = static_cast<Dtype>(pick(7) - 1); }

  void place(Place& place) {
    switch (pick(3)) {
      case 0: return set(place.file);
      case 1: return set(place.offset);
      default: return dtype(place.dtype);
    }
  }

  void tensor(PlannedTensor& tensor) {
    switch (pick(4)) {
      case 0: tensor.rule = static_cast<Rule>(pick(4) - 1); return;
      case 1: return set(tensor.count);
      case 2: return set(tensor.n_inputs);
      default: return set(tensor.first_input);
    }
  }

  void block() {
    if (weights_.blocks.empty()) return;
    WeightBlock& block = one_of(weights_.blocks);
    switch (pick(5)) {
      case 0: return set(block.n_inputs);
      case 1: return set(one_of(weights_.block_of));
      case 2: block.weights.resize(pick(block.weights.size() + 2)); return;
      case 3: return set(weights_.first);
      default:
        if (!block.weights.empty()) one_of(block.weights) = pick(2) ? NAN : 1e300;
    }
  }

  void product() {
    if (plan_.products.empty()) return;
    LoraProduct& product = one_of(plan_.products);
    LoraFactor& factor = pick(2) ? product.left : product.right;
    switch (pick(5)) {
      case 0: return set(product.rows);
      case 1: return set(product.columns);
      case 2: product.rank = pick(1 << 12) - 1; return;  // larger ones take more memory than a sanitizer grants
      case 3: return set(pick(2) ? factor.row_step : factor.column_step);
      default: return place(factor.place);
    }
  }

  void adapted() {
    if (plan_.adapted.empty()) return;
    AdaptedInput& adapted = one_of(plan_.adapted);
    switch (pick(3)) {
      case 0: return place(adapted.base);
      case 1: return place(adapted.added);
      default: adapted.scale = pick(2) ? NAN : 0;
    }
  }

  void gathered() {
    if (plan_.gathered.empty()) return;
    GatheredInput& gathered = one_of(plan_.gathered);
    switch (pick(9)) {
      case 0: return set(gathered.width);
      case 1: return set(gathered.first_run);
      case 2: return set(gathered.n_runs);
      case 3: return set(gathered.first_source);
      case 4: return set(gathered.n_sources);
      case 5: return place(one_of(plan_.row_sources));
      case 6: return run(one_of(plan_.row_runs));
      case 7:
        if (plan_.row_terms.empty()) return;
        return pick(2) ? set(one_of(plan_.row_terms).source) : set(one_of(plan_.row_terms).row);
      default: plan_.constants.resize(pick(plan_.constants.size() + 1));
    }
  }

  void run(RowRun& run) {
    switch (pick(3)) {
      case 0: return set(run.first);
      case 1: return set(run.source);
      default: return set(run.row);
    }
  }

  void options() {
    static const std::int64_t slots[] = {-8, 0, 4, 7, 8, 16, 24, 4096, 1 << 20, INT64_MIN, INT64_MAX};
    static const int threads[] = {-1, 0, 1, 3, 9, 5000};
    switch (pick(5)) {
      case 0: options_.slot_bytes = slots[pick(std::size(slots))]; return;
      case 1: options_.threads = threads[pick(std::size(threads))]; return;
      case 2: return set(options_.start.tensor);
      case 3: return set(options_.end);
      default: return set(options_.start.element);
    }
  }

  void shorten(std::vector<std::string>& files) {
    const std::string& path = one_of(files);
    if (std::filesystem::is_regular_file(path)) std::filesystem::resize_file(path, pick(std::filesystem::file_size(path) + 1));
  }

  void replace_file() {
    const std::string& path = one_of(pick(2) ? plan_.input_files : plan_.output_files);
    std::filesystem::remove_all(path);
    if (pick(2)) std::filesystem::create_directory(path);
  }

  template <class T>
  static void drop_last(std::vector<T>& all) {
    if (all.size() > 1) all.pop_back();
  }

  void drop() {
    switch (pick(4)) {
      case 0: return drop_last(plan_.inputs);
      case 1: return drop_last(plan_.outputs);
      case 2: return drop_last(plan_.input_files);
      default:
        plan_.tensors.push_back(one_of(plan_.tensors));
        weights_.block_of.push_back(one_of(weights_.block_of));
        options_.end = static_cast<std::int64_t>(plan_.tensors.size());
    }
  }

  StreamPlan& plan_;
  MergeWeights& weights_;
  StreamOptions& options_;
  Draws& draws_;
};

std::int64_t bytes_to_write(const StreamPlan& plan) {
  std::int64_t bytes = 0;
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    const PlannedTensor& tensor = plan.tensors[t];
    const std::int64_t size = tensor.rule == Rule::copy ? 1 : static_cast<std::int64_t>(size_of(plan.output(t, 0).dtype));
    bytes += tensor.count * size * plan.n_outputs;
  }
  return bytes;
}

const char* run(const StreamProblem& problem, const StreamOptions& options) {
  const StreamPlan& plan = problem.plan;
  try {
    check_plan(plan);
    check_weights(problem.weights, plan);
    check_options(options, plan);
  } catch (const std::invalid_argument&) {
    return "refused";
  }
  if (options.start.tensor < problem.weights.first) return "refused";
  if (options.end > problem.weights.first + static_cast<std::int64_t>(problem.weights.block_of.size())) return "refused";
  const StreamFiles files(plan);
  MergePass pass(plan, problem.weights, false);
  StreamExecutor executor(plan, files, pass, options);
  while (!executor.wait(1)) {}
  try {
    executor.rethrow();
  } catch (const StreamFailure& failure) {
    require(failure.tensor >= 0 && failure.tensor < static_cast<std::int64_t>(plan.tensors.size()), "failure in no tensor");
    const bool of_output = failure.kind == FailureKind::write || failure.kind == FailureKind::overflow;
    const int models = of_output ? plan.n_outputs : plan.tensors[failure.tensor].n_inputs;
    require(failure.model >= 0 && failure.model < models, "failure in no model");
    return "failed";
  }
  require(executor.position().tensor == options.end, "ended before the end");
  const bool whole = options.start.tensor == 0 && options.start.element == 0 && options.end == problem.end();
  require(!whole || executor.written_bytes() == bytes_to_write(plan), "did not write everything");
  return "succeeded";
}

}  // namespace

const char* m2m::try_once(Draws from) {
  const TemporaryFolder folder;
  StreamProblem problem(folder, from);
  Draws& draws = problem.draws;
  StreamOptions options{1 + draws.pick(3), static_cast<std::int64_t>(8) << draws.pick(10), {0, 0}, problem.end()};
  const int mutations = draws.pick(4);
  Mutation mutation(problem, options);
  for (int i = 0; i < mutations; ++i) mutation.apply();
  const char* outcome = run(problem, options);
  require(mutations > 0 || problem.is_merged(), "an unchanged plan gave other bytes");
  return outcome;
}
