#include "stream/plan_check.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace m2m {

namespace {

constexpr std::int64_t most_axis = std::int64_t{1} << 20;   // candidates, or inputs of a tensor
constexpr std::int64_t most_edge = std::int64_t{1} << 31;   // of a product: its sizes in bytes fit 64 bits
constexpr std::int64_t most_bytes = std::int64_t{1} << 62;  // of an offset plus a length, and of a plan's elements together
constexpr std::int64_t widest_element = 8;

void require(bool holds, const char* what, std::size_t tensor) {
  if (!holds) throw std::invalid_argument("tensor " + std::to_string(tensor) + " of the plan: " + what);
}

bool is_within(std::int64_t value, std::int64_t first, std::int64_t last) { return value >= first && value <= last; }

bool is_dtype(Dtype dtype) { return is_within(static_cast<int>(dtype), 0, static_cast<int>(Dtype::bf16)); }

// `elements` of the widest type would still end within 64 bits.
bool is_place(const Place& place, std::size_t n_files, std::int64_t elements) {
  return is_within(place.file, 0, static_cast<std::int64_t>(n_files) - 1) && is_dtype(place.dtype) &&
         is_within(place.offset, 0, most_bytes) && elements <= (most_bytes - place.offset) / widest_element;
}

// The steps lead to different elements, in the order of one axis, then the other.
bool is_factor(const LoraFactor& factor, const StreamPlan& plan, std::int64_t rows, std::int64_t columns) {
  const std::int64_t row = factor.row_step, column = factor.column_step;
  if (!is_within(row, 1, most_edge) || !is_within(column, 1, most_edge)) return false;
  const bool apart = row >= column ? row > (columns - 1) * column : column > (rows - 1) * row;
  if ((!apart && rows > 1 && columns > 1) || (rows - 1) * row > most_bytes / widest_element) return false;
  return is_place(factor.place, plan.input_files.size(), (rows - 1) * row + (columns - 1) * column + 1);
}

void check_product(const LoraProduct& product, const StreamPlan& plan, std::size_t t) {
  for (const std::int64_t edge : {product.rows, product.columns, product.rank})
    require(is_within(edge, 1, most_edge), "a product has an edge out of range", t);
  require(is_factor(product.left, plan, product.rows, product.rank) &&
              is_factor(product.right, plan, product.rank, product.columns),
          "a factor lies out of range", t);
  require(plan.tensors[t].rule == Rule::merge, "only merged tensors have products", t);
  require(product.rows * product.columns == plan.tensors[t].count, "a product does not fit its tensor", t);
}

bool is_number_in(std::int64_t number, std::size_t size) { return is_within(number, 0, static_cast<std::int64_t>(size) - 1); }

// What is read, or a product.
void check_read(const Place& place, const StreamPlan& plan, std::size_t t) {
  if (place.file != product_input)
    return require(is_place(place, plan.input_files.size(), plan.tensors[t].count), "an input lies out of range", t);
  require(is_number_in(place.offset, plan.products.size()) && place.dtype == Dtype::f64, "no such product", t);
  check_product(plan.products[place.offset], plan, t);
}

void check_adapted(const Place& place, const StreamPlan& plan, std::size_t t) {
  require(is_number_in(place.offset, plan.adapted.size()), "no such adapted input", t);
  const AdaptedInput& adapted = plan.adapted[place.offset];
  require(plan.tensors[t].rule == Rule::merge, "only merged tensors are adapted", t);
  require(adapted.base.file != product_input, "a product cannot be adapted", t);
  require(std::isfinite(adapted.scale) && adapted.scale != 0, "a scale is zero or not finite", t);
  check_read(adapted.base, plan, t);
  check_read(adapted.added, plan, t);
  if (adapted.magnitudes.given) {
    require(adapted.added.file == product_input, "only products have magnitudes", t);
    const LoraProduct& product = plan.products[adapted.added.offset];
    const std::int64_t length = adapted.magnitudes.by_column ? product.columns : product.rows;
    require(is_place(adapted.magnitudes.place, plan.input_files.size(), length), "magnitudes lie out of range", t);
  }
  const bool wide = place.dtype == Dtype::f32 || place.dtype == Dtype::f64;
  require(wide && place.dtype == plan.common_dtype(t), "an adapted input is not of its tensor's widest type", t);
}

bool widens_exactly(Dtype from, Dtype to) { return from == to || to == Dtype::f64 || (to == Dtype::f32 && from != Dtype::f64); }

// Rows [row, row + n_rows) of one of a gathered input's sources.
void check_rows(const GatheredInput& gathered, std::int64_t source, std::int64_t row, std::int64_t n_rows, Dtype dtype,
                bool may_be_constant, const StreamPlan& plan, std::size_t t) {
  require(is_number_in(source, gathered.n_sources), "no such source of rows", t);
  const Place& place = plan.row_sources[gathered.first_source + source];
  require(is_dtype(place.dtype) && widens_exactly(place.dtype, dtype), "rows do not widen to their input's type", t);
  const std::int64_t bytes = gathered.width * size_of(place.dtype), room = plan.constants.size();
  if (place.file == constant_rows)
    return require(may_be_constant && is_within(place.offset, 0, room - bytes), "a constant row is out of range", t);
  require(is_within(row, 0, most_edge - n_rows) && is_place(place, plan.input_files.size(), (row + n_rows) * gathered.width),
          "rows lie out of range", t);
}

void check_run(const GatheredInput& gathered, std::int64_t number, std::int64_t rows, Dtype dtype, const StreamPlan& plan,
               std::size_t t) {
  const RowRun& run = plan.row_runs[gathered.first_run + number];
  const bool last = number + 1 == gathered.n_runs;
  const std::int64_t span = (last ? rows : plan.row_runs[gathered.first_run + number + 1].first) - run.first;
  require(run.first >= 0 && span >= 1 && (number > 0 || run.first == 0), "runs of rows are out of order", t);
  if (run.source >= 0) return check_rows(gathered, run.source, run.row, span, dtype, true, plan, t);
  const std::int64_t n_terms = -std::int64_t{run.source}, known = plan.row_terms.size();
  require(span == 1 && n_terms <= most_axis && is_within(run.row, 0, known - n_terms), "a mean is out of range", t);
  for (std::int64_t k = 0; k < n_terms; ++k) {
    const RowTerm& term = plan.row_terms[run.row + k];
    check_rows(gathered, term.source, term.row, 1, dtype, false, plan, t);
  }
}

void check_gathered(const Place& place, const StreamPlan& plan, std::size_t t) {
  require(is_number_in(place.offset, plan.gathered.size()) && is_dtype(place.dtype), "no such gathered input", t);
  const GatheredInput& gathered = plan.gathered[place.offset];
  const std::int64_t count = plan.tensors[t].count;
  require(plan.tensors[t].rule == Rule::merge, "only merged tensors are gathered", t);
  require(is_within(gathered.width, 1, most_edge) && count % gathered.width == 0, "rows do not fit their tensor", t);
  const std::int64_t n_runs = plan.row_runs.size(), n_sources = plan.row_sources.size();
  require(is_within(gathered.n_runs, 1, n_runs) && is_within(gathered.first_run, 0, n_runs - gathered.n_runs) &&
              is_within(gathered.n_sources, 1, n_sources) &&
              is_within(gathered.first_source, 0, n_sources - gathered.n_sources),
          "a gathered input's runs are not in the plan", t);
  for (std::int64_t i = 0; i < gathered.n_runs; ++i) check_run(gathered, i, count / gathered.width, place.dtype, plan, t);
}

void check_inputs(const StreamPlan& plan, std::size_t t) {
  const PlannedTensor& tensor = plan.tensors[t];
  require(is_within(tensor.n_inputs, 1, most_axis), "number of inputs out of range", t);
  require(is_within(tensor.first_input, 0, static_cast<std::int64_t>(plan.inputs.size()) - tensor.n_inputs),
          "its inputs are not in the plan", t);
  for (int n = 0; n < tensor.n_inputs; ++n) {
    const Place& place = plan.input(t, n);
    if (place.file == adapted_input) {
      check_adapted(place, plan, t);
    } else if (place.file == gathered_input) {
      check_gathered(place, plan, t);
    } else {
      check_read(place, plan, t);
    }
  }
}

void check_outputs(const StreamPlan& plan, std::size_t t) {
  const PlannedTensor& tensor = plan.tensors[t];
  for (int m = 0; m < plan.n_outputs; ++m) {
    const Place& place = plan.output(t, m);
    require(is_place(place, plan.output_files.size(), tensor.count), "an output lies out of range", t);
    const bool same = tensor.rule == Rule::copy || place.dtype == plan.output(t, 0).dtype;
    require(same, "its outputs differ in dtype", t);
  }
}

}  // namespace

void check_plan(const StreamPlan& plan) {
  if (!is_within(plan.n_outputs, 1, most_axis)) throw std::invalid_argument("number of outputs out of range");
  if (plan.outputs.size() != plan.tensors.size() * static_cast<std::size_t>(plan.n_outputs))
    throw std::invalid_argument("wanted a place for every tensor and output");
  std::int64_t elements = 0;
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    const PlannedTensor& tensor = plan.tensors[t];
    require(tensor.rule == Rule::merge || tensor.rule == Rule::copy, "no such rule", t);
    require(is_within(tensor.count, 0, most_bytes / widest_element - elements), "count out of range", t);
    elements += tensor.count;
    check_inputs(plan, t);
    check_outputs(plan, t);
  }
}

void check_weights(const MergeWeights& weights, const StreamPlan& plan) {
  const auto n_tensors = static_cast<std::int64_t>(plan.tensors.size());
  const auto n_wanted = static_cast<std::int64_t>(weights.block_of.size());
  if (!is_within(weights.first, 0, n_tensors) || n_wanted > n_tensors - weights.first)
    throw std::invalid_argument("weights of tensors that are not in the plan");
  for (const WeightBlock& block : weights.blocks) {
    const bool fits = is_within(block.n_inputs, 1, most_axis) &&
                      std::int64_t{block.n_inputs} * plan.n_outputs == static_cast<std::int64_t>(block.weights.size());
    if (!fits) throw std::invalid_argument("a block of weights has not one for every output and input");
  }
  for (std::int64_t i = 0; i < n_wanted; ++i) {
    const std::size_t t = weights.first + i;
    const PlannedTensor& tensor = plan.tensors[t];
    if (tensor.rule == Rule::copy) continue;
    require(is_within(weights.block_of[i], 0, static_cast<std::int64_t>(weights.blocks.size()) - 1), "no such block of weights",
            t);
    require(weights.blocks[weights.block_of[i]].n_inputs == tensor.n_inputs, "its weights do not fit its inputs", t);
  }
}

void check_options(const StreamOptions& options, const StreamPlan& plan) {
  if (!is_within(options.threads, 1, 4096)) throw std::invalid_argument("threads out of range");
  const bool slots =
      is_within(options.slot_bytes, widest_element, most_bytes >> 30) && options.slot_bytes % widest_element == 0;
  if (!slots) throw std::invalid_argument("slot_bytes must be a positive multiple of 8");
  const auto n_tensors = static_cast<std::int64_t>(plan.tensors.size());
  const StreamPosition& start = options.start;
  const bool inside = is_within(options.end, 0, n_tensors) && is_within(start.tensor, 0, options.end) &&
                      is_within(start.element, 0, start.tensor == options.end ? 0 : plan.tensors[start.tensor].count);
  if (!inside) throw std::invalid_argument("start and end are not in the plan");
}

}  // namespace m2m
