// ram and ramplus_tl: where only one expert moves an element its task vector stays whole, where several do they are averaged.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "stream/pass.h"

namespace m2m {

// An expert moves an element if |tau| > epsilon.
struct OverlapTensor {
  double epsilon = 0;
  std::vector<double> gains;  // [N] of elements that the expert alone moves; none for a copied tensor
};

// How many elements an expert moves.
struct OverlapCounts {
  std::int64_t shared = 0;  // that others move too
  std::int64_t alone = 0;
};

// Both passes take the base model and N experts as inputs.
class OverlapPass : public StreamPass {
 public:
  // `tensors`: one for each tensor of the plan from `first` on.
  OverlapPass(const StreamPlan& plan, std::int64_t first, std::vector<OverlapTensor> tensors)
      : plan_(plan), first_(first), tensors_(std::move(tensors)) {}
  bool wants(std::int64_t tensor, int n) const override { return n <= static_cast<int>(rule(tensor).gains.size()); }

 protected:
  const OverlapTensor& rule(std::int64_t tensor) const { return tensors_[tensor - first_]; }

  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<OverlapTensor> tensors_;
};

// Counts what each expert moves alone and together with others.
class OverlapLook final : public OverlapPass {
 public:
  OverlapLook(const StreamPlan& plan, std::int64_t first, std::vector<OverlapTensor> tensors);
  bool writes() const override { return false; }
  void run(const ChunkView& chunk) override;

  bool holds(std::int64_t tensor) const { return tensor >= first_ && tensor - first_ < std::int64_t(tensors_.size()); }
  const std::vector<OverlapCounts>& counts(std::int64_t tensor) const { return counts_[tensor - first_]; }  // [N]

 private:
  std::vector<std::vector<OverlapCounts>> counts_;
  std::mutex mutex_;  // guards counts_
};

// Writes theta0 + gain x tau of the expert that alone moves an element, or + the mean of those that do.
class OverlapMergePass final : public OverlapPass {
 public:
  OverlapMergePass(const StreamPlan& plan, std::int64_t first, std::vector<OverlapTensor> tensors, bool allow_nonfinite)
      : OverlapPass(plan, first, std::move(tensors)), allow_nonfinite_(allow_nonfinite) {}
  void run(const ChunkView& chunk) override;

 private:
  const bool allow_nonfinite_;
};

}  // namespace m2m
