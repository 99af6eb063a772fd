#include "stream_merge.h"

#include <algorithm>
#include <cstring>

#include "merge.h"
#include "nonfinite.h"
#include "stream_failure.h"

namespace m2m {

MergePass::MergePass(const StreamPlan& plan, bool allow_nonfinite) : plan_(plan), allow_nonfinite_(allow_nonfinite) {
  for (const WeightBlock& planned : plan.blocks) blocks_.push_back(without_zero_columns(planned));
}

MergePass::Block MergePass::without_zero_columns(const WeightBlock& planned) const {
  const auto weight = [&](int m, int n) { return plan_.weights[planned.first + m * planned.n_inputs + n]; };
  Block block;
  for (int n = 0; n < planned.n_inputs; ++n) {
    bool any = false;
    for (int m = 0; m < plan_.n_outputs; ++m) any = any || weight(m, n) != 0;
    if (any) block.used.push_back(n);
  }
  if (block.used.empty()) block.used.push_back(0);
  for (int m = 0; m < plan_.n_outputs; ++m)
    for (int n : block.used) block.weights.push_back(weight(m, n));
  block.narrow.assign(block.weights.begin(), block.weights.end());
  return block;
}

bool MergePass::wants(std::int64_t tensor, int n) const {
  const PlannedTensor& planned = plan_.tensors[tensor];
  if (planned.rule == Rule::copy) return true;
  const std::vector<int>& used = blocks_[planned.block].used;
  return std::binary_search(used.begin(), used.end(), n);
}

void MergePass::run(const ChunkView& chunk) {
  if (plan_.tensors[chunk.tensor].rule == Rule::copy) return copy(chunk);
  merge(chunk);
  if (!allow_nonfinite_) check_finite(chunk);
}

void MergePass::merge(const ChunkView& chunk) const {
  const Block& block = blocks_[plan_.tensors[chunk.tensor].block];
  const void* weights = chunk.dtype == Dtype::f64 ? static_cast<const void*>(block.weights.data()) : block.narrow.data();
  MergeArgs args{};
  args.inputs = chunk.inputs;
  args.weights = weights;
  args.outputs = chunk.outputs;
  args.count = chunk.count;
  args.n_inputs = chunk.n_inputs;
  args.n_outputs = plan_.n_outputs;
  args.input = chunk.dtype;
  args.output = plan_.output(chunk.tensor, 0).dtype;
  merge_cpu(args, 1);
}

void MergePass::copy(const ChunkView& chunk) const {
  for (int i = 1; i < chunk.n_inputs; ++i) {
    const auto* first = static_cast<const unsigned char*>(chunk.inputs[0]);
    const auto* other = static_cast<const unsigned char*>(chunk.inputs[i]);
    if (std::memcmp(first, other, chunk.count) == 0) continue;
    const std::int64_t byte = std::mismatch(first, first + chunk.count, other).first - first;
    throw StreamFailure(FailureKind::unequal, chunk.tensor, chunk.models[i], chunk.first + byte);
  }
  for (int m = 0; m < plan_.n_outputs; ++m) std::memcpy(chunk.outputs[m], chunk.inputs[0], chunk.count);
}

// A used input (its weight is not zero) that is NaN or infinite makes the sum so: it is enough to look at the sums, of which
// there are usually fewer, and to look for the culprit only when one is bad.
void MergePass::check_finite(const ChunkView& chunk) const {
  for (int m = 0; m < plan_.n_outputs; ++m) {
    const Dtype dtype = plan_.output(chunk.tensor, m).dtype;
    const std::int64_t bad = first_nonfinite(chunk.outputs[m], dtype, chunk.count);
    if (bad == chunk.count) continue;
    for (int i = 0; i < chunk.n_inputs; ++i) {
      const std::int64_t at = first_nonfinite(chunk.inputs[i], chunk.dtype, chunk.count);
      if (at != chunk.count) throw StreamFailure(FailureKind::nonfinite, chunk.tensor, chunk.models[i], chunk.first + at);
    }
    throw StreamFailure(FailureKind::overflow, chunk.tensor, m, chunk.first + bad);
  }
}

}  // namespace m2m
