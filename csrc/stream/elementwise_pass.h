// Methods that need no more than one element of every input at a time: nearswap, and the averages with a weight an element.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
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
  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<FisherTensor> tensors_;
  const bool allow_nonfinite_;
};

struct PreconditionedTensor {
  PreconditionedTensor(bool has_moments, double eps, double factor, std::vector<double> shares)
      : has_moments(has_moments), eps(eps), factor(factor), shares(std::move(shares)) {
    std::copy_if(this->shares.begin(), this->shares.end(), std::back_inserter(used), [](double share) { return share != 0; });
  }

  bool has_moments;
  double eps, factor;
  std::vector<double> shares;  // [N]; experts whose share is zero are not read
  std::vector<double> used;    // the other shares
};

// theta0 + factor · sum of (p_n M_n / M) tau_n, M_n = sqrt(v_n) + eps, M = sqrt(sum of p_n v_n) + eps. Inputs: base model, N
// experts, then the second moments v_n of those whose share p_n is not zero; without moments M_n / M is 1.
class PreconditionedPass final : public StreamPass {
 public:
  PreconditionedPass(const StreamPlan& plan, std::int64_t first, std::vector<PreconditionedTensor> tensors,
                     bool allow_nonfinite)
      : plan_(plan), first_(first), tensors_(std::move(tensors)), allow_nonfinite_(allow_nonfinite) {}
  bool wants(std::int64_t tensor, int n) const override;
  void run(const ChunkView& chunk) override;

 private:
  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<PreconditionedTensor> tensors_;
  const bool allow_nonfinite_;
};

}  // namespace m2m
