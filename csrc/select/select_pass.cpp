#include "select/select_pass.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "core/float_environment.h"
#include "core/nonfinite.h"
#include "stream/failure.h"

namespace m2m {

namespace {

// Of a tensor in memory: its bins stay in the first-level cache.
constexpr int kWholeDigitBits = 11;

// An expert without weight counts as one of which nothing is kept: it need not be read.
void drop_idle(SelectSpec& spec) {
  if (spec.combine == Combine::energy || spec.combine == Combine::fuse) return;
  for (std::size_t n = 0; n < spec.experts.size(); ++n) {
    const auto has_weight = [&](const OutputSpec& output) { return output.weights[n] != 0; };
    if (std::none_of(spec.outputs.begin(), spec.outputs.end(), has_weight)) spec.experts[n].trim = Trim::none;
    if (spec.experts[n].trim == Trim::none) spec.experts[n].keeps_norm = false;
  }
}

void check_spec(const SelectSpec& spec, const PlannedTensor& tensor, int n_outputs) {
  const auto fits = [&](const OutputSpec& output) { return output.weights.size() == spec.experts.size(); };
  if (tensor.n_inputs != static_cast<int>(spec.experts.size()) + 1)
    throw std::invalid_argument("experts do not fit the tensor");
  if (static_cast<int>(spec.outputs.size()) != n_outputs) throw std::invalid_argument("outputs do not fit the plan");
  if (!std::all_of(spec.outputs.begin(), spec.outputs.end(), fits))
    throw std::invalid_argument("weights do not fit the experts");
  if (spec.needs_rows() && (spec.row < 1 || tensor.count % spec.row)) throw std::invalid_argument("rows do not fit the tensor");
}

Dtype task_vector_dtype(const StreamPlan& plan, std::int64_t tensor) {
  for (int n = 0; n < plan.tensors[tensor].n_inputs; ++n)
    if (plan.input(tensor, n).dtype == Dtype::f64) return Dtype::f64;
  return Dtype::f32;
}

}  // namespace

SelectPass::SelectPass(const StreamPlan& plan, const SelectOptions& options) : plan_(plan), options_(options) {
  if (options.digit_bits < 1 || options.digit_bits > 20) throw std::invalid_argument("digit_bits is out of range");
}

void SelectPass::add(std::int64_t number, SelectSpec spec) {
  const PlannedTensor& planned = plan_.tensors.at(number);
  check_spec(spec, planned, plan_.n_outputs);
  Tensor& tensor = tensors_[number];
  tensor.spec = std::move(spec);
  tensor.spec.zeros_vote = options_.allow_nonfinite;
  drop_idle(tensor.spec);
  tensor.total = planned.count;
  tensor.dtype = task_vector_dtype(plan_, number);
  elements_ += tensor.total;
}

// Once all tensors are known: they share the room for keys by their sizes.
void SelectPass::begin() {
  begun_ = true;
  for (auto& entry : tensors_) {
    Tensor& tensor = entry.second;
    if (tensor.total <= options_.whole) continue;
    const double share = static_cast<double>(tensor.total) / static_cast<double>(elements_);
    const auto keys = static_cast<std::int64_t>(share * static_cast<double>(options_.guess_keys));
    const SearchRoom room{options_.digit_bits, tensor.total < options_.sampled_from ? 0 : keys};
    tensor.state = std::make_unique<SelectState>(tensor.spec, tensor.total, tensor.dtype, room);
  }
}

bool SelectPass::look() {
  if (!begun_) begin();
  writes_ = std::all_of(tensors_.begin(), tensors_.end(), [](const auto& entry) {
    const auto& state = entry.second.state;
    return !state || state->stage() == SelectState::Stage::ready;
  });
  return !writes_;
}

bool SelectPass::wants(std::int64_t number, int n) const {
  const Tensor& tensor = tensors_.at(number);
  const auto in_look = [&](int expert) { return tensor.state && tensor.state->needs(expert); };
  const auto in_write = [&](int expert) { return tensor.spec.experts[expert].trim != Trim::none; };
  if (n > 0) return writes_ ? in_write(n - 1) : in_look(n - 1);
  if (writes_) return true;
  for (std::size_t expert = 0; expert < tensor.spec.experts.size(); ++expert)
    if (in_look(static_cast<int>(expert))) return true;
  return false;
}

// The same in every pass where ranks are sought: the cut among equal keys is known by the chunk it lies in.
std::int64_t SelectPass::span(std::int64_t number) const {
  const Tensor& tensor = tensors_.at(number);
  if (!tensor.state) return 0;
  if (!writes_ && tensor.state->samples()) return tensor.state->stride();
  const bool sums = !writes_ && tensor.state->stage() == SelectState::Stage::sums;
  return tensor.state->cuts() || sums ? std::lcm(kSegment, row(number)) : 0;
}

std::int64_t SelectPass::head(std::int64_t number) const {
  const Tensor& tensor = tensors_.at(number);
  return !writes_ && tensor.state && tensor.state->samples() ? Sample::piece : 0;
}

std::int64_t SelectPass::row(std::int64_t number) const {
  const SelectSpec& spec = tensors_.at(number).spec;
  return spec.needs_rows() ? spec.row : 1;
}

void SelectPass::start(int workers) { scratch_.resize(workers); }

void SelectPass::run(const ChunkView& view) {
  const DefaultFloatEnvironment environment;
  Tensor& tensor = tensors_.at(view.tensor);
  Scratch& scratch = scratch_[view.worker];
  try {
    if (view.dtype == Dtype::f64) {
      run_with(view, tensor, scratch.wide);
    } else {
      run_with(view, tensor, scratch.narrow);
    }
  } catch (const LooksDiffer&) {
    throw StreamFailure(FailureKind::changed, view.tensor, 0);
  }
  if (writes_ && !options_.allow_nonfinite) check_finite(view);
}

template <class Real>
void SelectPass::run_with(const ChunkView& view, Tensor& tensor, SelectScratch<Real>& scratch) {
  const SelectInputs inputs = inputs_of(view, tensor.spec);
  if (!writes_) return tensor.state->look(inputs, scratch);
  const Dtype output = plan_.output(view.tensor, 0).dtype;
  if (tensor.state) return tensor.state->write(inputs, scratch, output, view.outputs);
  if (view.count != tensor.total) throw std::logic_error("a small tensor was cut into chunks");
  SelectState state(tensor.spec, tensor.total, tensor.dtype, {kWholeDigitBits});
  while (state.stage() != SelectState::Stage::ready) state.look(inputs, scratch);
  state.write(inputs, scratch, output, view.outputs);
}

SelectInputs SelectPass::inputs_of(const ChunkView& view, const SelectSpec& spec) const {
  SelectInputs inputs{view.dtype, view.first, view.count, nullptr, std::vector<const void*>(spec.experts.size(), nullptr)};
  for (int i = 0; i < view.n_inputs; ++i) {
    if (view.models[i] == 0) {
      inputs.base = view.inputs[i];
    } else {
      inputs.experts[view.models[i] - 1] = view.inputs[i];
    }
  }
  return inputs;
}

// Trimming may drop a bad element, so that it is not enough to look at the output.
void SelectPass::check_finite(const ChunkView& view) const {
  for (int i = 0; i < view.n_inputs; ++i) {
    const std::int64_t at = first_nonfinite(view.inputs[i], view.dtype, view.count);
    if (at != view.count) throw StreamFailure(FailureKind::nonfinite, view.tensor, view.models[i], view.first + at);
  }
  for (int m = 0; m < plan_.n_outputs; ++m) {
    const std::int64_t bad = first_nonfinite(view.outputs[m], plan_.output(view.tensor, m).dtype, view.count);
    if (bad != view.count) throw StreamFailure(FailureKind::overflow, view.tensor, m, view.first + bad);
  }
}

}  // namespace m2m
