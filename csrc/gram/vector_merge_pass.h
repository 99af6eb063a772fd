// The pass that writes weighted sums with weights of their own for every vector (row or column) of a tensor.
#pragma once

#include <cstdint>
#include <vector>

#include "stream/pass.h"

namespace m2m {

// Weights of one tensor. Vectors are its rows of `length` elements, or its columns, `stride` of them side by side.
struct VectorWeights {
  std::int64_t length = 0;
  std::int64_t stride = 1;
  int n_inputs = 0;
  std::vector<double> weights;  // [V, M, N]
};

class VectorMergePass final : public StreamPass {
 public:
  // `tensors`: one for each tensor of the plan from `first` on.
  VectorMergePass(const StreamPlan& plan, std::int64_t first, std::vector<VectorWeights> tensors, bool allow_nonfinite)
      : plan_(plan), first_(first), tensors_(std::move(tensors)), allow_nonfinite_(allow_nonfinite) {}
  bool wants(std::int64_t, int) const override { return true; }
  void run(const ChunkView& chunk) override;

 private:
  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<VectorWeights> tensors_;
  const bool allow_nonfinite_;
};

}  // namespace m2m
