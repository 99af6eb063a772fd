#include "stream/merge_pass.h"

#include <algorithm>

#include "core/merge.h"
#include "stream/finite.h"

namespace m2m {

MergePass::MergePass(const StreamPlan& plan, const MergeWeights& weights, bool allow_nonfinite, MergeDevice& device)
    : plan_(plan), first_(weights.first), block_of_(weights.block_of), allow_nonfinite_(allow_nonfinite), device_(device) {
  for (const WeightBlock& each : weights.blocks) blocks_.push_back(without_zero_columns(each));
}

MergePass::Block MergePass::without_zero_columns(const WeightBlock& block) const {
  const auto weight = [&](int m, int n) { return block.weights[m * block.n_inputs + n]; };
  Block kept;
  for (int n = 0; n < block.n_inputs; ++n) {
    bool any = false;
    for (int m = 0; m < plan_.n_outputs; ++m) any = any || weight(m, n) != 0;
    if (any) kept.used.push_back(n);
  }
  if (kept.used.empty()) kept.used.push_back(0);
  for (int m = 0; m < plan_.n_outputs; ++m)
    for (int n : kept.used) kept.weights.push_back(weight(m, n));
  kept.narrow.assign(kept.weights.begin(), kept.weights.end());
  return kept;
}

bool MergePass::wants(std::int64_t tensor, int n) const {
  const std::vector<int>& used = block(tensor).used;
  return std::binary_search(used.begin(), used.end(), n);
}

void MergePass::run(const ChunkView& chunk) {
  const Block& used = block(chunk.tensor);
  MergeArgs args{};
  args.inputs = chunk.inputs;
  args.weights = chunk.dtype == Dtype::f64 ? static_cast<const void*>(used.weights.data()) : used.narrow.data();
  args.outputs = chunk.outputs;
  args.count = chunk.count;
  args.n_inputs = chunk.n_inputs;
  args.n_outputs = plan_.n_outputs;
  args.input = chunk.dtype;
  args.output = plan_.output(chunk.tensor, 0).dtype;
  device_.merge(args, chunk.worker);
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

}  // namespace m2m
