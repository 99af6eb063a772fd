// Methods that add task vectors and then ask each expert how it stands to the sum: consensus, emr_unified.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "stream/pass.h"

namespace m2m {

enum class Agreement : int {
  consensus,  // the sum, where at least k experts have a stake in it: |tau_n| > lambda_n |sum - tau_n|
  largest,    // the largest task vector that has the sign of the sum
};

struct AgreementTensor {
  double factor = 1;            // of the merged task vector
  std::int64_t least = 0;       // k
  std::vector<double> lambdas;  // [N]; none for a copied tensor
};

// Inputs: base model, N experts.
class AgreementPass final : public StreamPass {
 public:
  // `tensors`: one for each tensor of the plan from `first` on.
  AgreementPass(const StreamPlan& plan, std::int64_t first, Agreement agreement, std::vector<AgreementTensor> tensors,
                bool allow_nonfinite)
      : plan_(plan), first_(first), agreement_(agreement), tensors_(std::move(tensors)), allow_nonfinite_(allow_nonfinite) {}
  bool wants(std::int64_t tensor, int n) const override {
    return n <= static_cast<int>(tensors_[tensor - first_].lambdas.size());
  }
  void run(const ChunkView& chunk) override;

 private:
  const StreamPlan& plan_;
  const std::int64_t first_;
  const Agreement agreement_;
  const std::vector<AgreementTensor> tensors_;
  const bool allow_nonfinite_;
};

}  // namespace m2m
