// Methods that need no more than one element of every input at a time: nearswap and the Fisher-weighted average.
#pragma once

#include <cstdint>
#include <vector>

#include "stream/pass.h"

namespace m2m {

// theta where |tau| <= t, else theta0 + copysign(t, tau). Inputs: base model, expert.
class NearSwapPass final : public StreamPass {
 public:
  // `steps`: t of each tensor from `first` on.
  NearSwapPass(const StreamPlan& plan, std::int64_t first, std::vector<double> steps, bool allow_nonfinite)
      : plan_(plan), first_(first), steps_(std::move(steps)), allow_nonfinite_(allow_nonfinite) {}
  bool wants(std::int64_t, int n) const override { return n < 2; }
  void run(const ChunkView& chunk) override;

 private:
  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<double> steps_;
  const bool allow_nonfinite_;
};

struct FisherTensor {
  double floor = 0;
  std::vector<double> weights;  // [N]
};

// Sum of g_n theta_n over sum of g_n, g_n = w_n max(F_n, floor). Inputs: N experts, then their N diagonal Fisher estimates.
class FisherPass final : public StreamPass {
 public:
  FisherPass(const StreamPlan& plan, std::int64_t first, std::vector<FisherTensor> tensors, bool allow_nonfinite)
      : plan_(plan), first_(first), tensors_(std::move(tensors)), allow_nonfinite_(allow_nonfinite) {}
  bool wants(std::int64_t tensor, int n) const override {
    return n < 2 * static_cast<int>(tensors_[tensor - first_].weights.size());
  }
  void run(const ChunkView& chunk) override;

 private:
  void require_no_negative(const ChunkView& chunk) const;

  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<FisherTensor> tensors_;
  const bool allow_nonfinite_;
};

}  // namespace m2m
