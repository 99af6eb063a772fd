#include "stream/agreement_pass.h"

#include <algorithm>
#include <cmath>

#include "core/isa.h"
#include "stream/element_blocks.h"
#include "stream/finite.h"

namespace m2m {
namespace {

template <class In>
M2M_INLINE void add_vectors(const TaskVectors<In>& tau, std::size_t n_experts, int count, double* sums) {
  std::fill_n(sums, count, 0.0);
  for (std::size_t n = 0; n < n_experts; ++n)
    for (int i = 0; i < count; ++i) sums[i] += tau(n, i);
}

// result = theta0 + factor x change
template <class In>
M2M_INLINE void add_change(const TaskVectors<In>& tau, double factor, const double* change, int count, double* result) {
  const In* base = tau.input(0);
  for (int i = 0; i < count; ++i) result[i] = static_cast<double>(load(base[i])) + change[i] * factor;
}

M2M_INLINE void merge_consensus_body(const ElementWork& work, const AgreementTensor& rule) {
  alignas(64) double sums[kElementBlock];
  alignas(64) std::int64_t stakes[kElementBlock];
  in_blocks(work, [&](auto tag, std::int64_t from, int count, double* result) __attribute__((always_inline)) {
    const TaskVectors<typename decltype(tag)::type> tau{work.chunk, from};
    add_vectors(tau, rule.lambdas.size(), count, sums);
    std::fill_n(stakes, count, 0);
    for (std::size_t n = 0; n < rule.lambdas.size(); ++n) {
      for (int i = 0; i < count; ++i) {
        const double vector = tau(n, i);
        stakes[i] += std::fabs(vector) > std::fabs(sums[i] - vector) * rule.lambdas[n];
      }
    }
    for (int i = 0; i < count; ++i) sums[i] = stakes[i] >= rule.least ? sums[i] : 0.0;
    add_change(tau, rule.factor, sums, count, result);
  });
}
M2M_CLONES(void, merge_consensus, (const ElementWork& work, const AgreementTensor& rule), (work, rule))

M2M_INLINE void merge_largest_body(const ElementWork& work, const AgreementTensor& rule) {
  alignas(64) double sums[kElementBlock], largest[kElementBlock];
  in_blocks(work, [&](auto tag, std::int64_t from, int count, double* result) __attribute__((always_inline)) {
    const TaskVectors<typename decltype(tag)::type> tau{work.chunk, from};
    add_vectors(tau, rule.lambdas.size(), count, sums);
    std::fill_n(largest, count, 0.0);
    for (std::size_t n = 0; n < rule.lambdas.size(); ++n) {
      for (int i = 0; i < count; ++i) {
        const double vector = tau(n, i);
        const double along = sums[i] > 0 ? vector : sums[i] < 0 ? -vector : 0.0;
        largest[i] = along > largest[i] ? along : largest[i];
      }
    }
    for (int i = 0; i < count; ++i) largest[i] = sums[i] < 0 ? -largest[i] : largest[i];
    add_change(tau, rule.factor, largest, count, result);
  });
}
M2M_CLONES(void, merge_largest, (const ElementWork& work, const AgreementTensor& rule), (work, rule))

}  // namespace

// An element that is NaN is one that nobody has a stake in, so that it is not enough to look at the output.
void AgreementPass::run(const ChunkView& chunk) {
  if (!allow_nonfinite_) require_finite_inputs(chunk);
  const ElementWork work{chunk, plan_.output(chunk.tensor, 0).dtype};
  const AgreementTensor& rule = tensors_[chunk.tensor - first_];
  agreement_ == Agreement::consensus ? merge_consensus(work, rule) : merge_largest(work, rule);
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

}  // namespace m2m
