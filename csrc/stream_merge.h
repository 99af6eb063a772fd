// The pass that writes weighted sums (linear merging), and copies what must not be averaged.
#pragma once

#include <vector>

#include "stream_pass.h"

namespace m2m {

class MergePass final : public StreamPass {
 public:
  MergePass(const StreamPlan& plan, bool allow_nonfinite);
  bool wants(std::int64_t tensor, int n) const override;
  void run(const ChunkView& chunk) override;

 private:
  // One block of weights without the columns that are zero for every output: those inputs are not even read.
  struct Block {
    std::vector<int> used;        // the n that are left
    std::vector<double> weights;  // [M, used]
    std::vector<float> narrow;    // the same, rounded once to the accumulation type of the narrower dtypes
  };

  Block without_zero_columns(const WeightBlock& planned) const;
  void merge(const ChunkView& chunk) const;
  void copy(const ChunkView& chunk) const;
  void check_finite(const ChunkView& chunk) const;

  const StreamPlan& plan_;
  bool allow_nonfinite_;
  std::vector<Block> blocks_;
};

}  // namespace m2m
