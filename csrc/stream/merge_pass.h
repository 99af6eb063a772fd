// The pass that writes weighted sums with one weight a tensor and input.
#pragma once

#include <cstdint>
#include <vector>

#include "stream/pass.h"

namespace m2m {

// Weights that several tensors may share. [M, N]
struct WeightBlock {
  int n_inputs;
  std::vector<double> weights;
};

// The weights of a run of tensors.
struct MergeWeights {
  std::int64_t first = 0;              // the run's first tensor
  std::vector<std::int64_t> block_of;  // number of each tensor's block; without meaning for a copied one
  std::vector<WeightBlock> blocks;
};

class MergePass final : public StreamPass {
 public:
  MergePass(const StreamPlan& plan, const MergeWeights& weights, bool allow_nonfinite, MergeDevice& device = cpu_device());
  bool wants(std::int64_t tensor, int n) const override;
  void run(const ChunkView& chunk) override;
  MergeDevice& device() const override { return device_; }

 private:
  // One block of weights without the columns that are zero for every output: those inputs are not even read.
  struct Block {
    std::vector<int> used;        // the n that are left
    std::vector<double> weights;  // [M, used]
    std::vector<float> narrow;    // the same, rounded once to the accumulation type of the narrower dtypes
  };

  Block without_zero_columns(const WeightBlock& block) const;
  const Block& block(std::int64_t tensor) const { return blocks_[block_of_[tensor - first_]]; }

  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<std::int64_t> block_of_;
  const bool allow_nonfinite_;
  MergeDevice& device_;
  std::vector<Block> blocks_;
};

}  // namespace m2m
