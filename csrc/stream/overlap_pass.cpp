#include "stream/overlap_pass.h"

#include <algorithm>
#include <cmath>

#include "core/isa.h"
#include "stream/element_blocks.h"
#include "stream/finite.h"

namespace m2m {
namespace {

// moving[i] = how many experts move element i
template <class In>
M2M_INLINE void count_moving(const TaskVectors<In>& tau, const OverlapTensor& rule, int count, std::int32_t* moving) {
  std::fill_n(moving, count, 0);
  for (std::size_t n = 0; n < rule.gains.size(); ++n)
    for (int i = 0; i < count; ++i) moving[i] += std::fabs(tau(n, i)) > rule.epsilon;
}

M2M_INLINE void look_at_overlap_body(const ChunkView& chunk, const OverlapTensor& rule, OverlapCounts* counts) {
  alignas(64) std::int32_t moving[kElementBlock];
  dispatch(chunk.dtype, [&](auto tag) __attribute__((always_inline)) {
    for (std::int64_t from = 0; from < chunk.count; from += kElementBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(kElementBlock, chunk.count - from));
      const TaskVectors<typename decltype(tag)::type> tau{chunk, from};
      count_moving(tau, rule, count, moving);
      for (std::size_t n = 0; n < rule.gains.size(); ++n) {
        std::int32_t moved = 0, alone = 0;
        for (int i = 0; i < count; ++i) {
          const bool moves = std::fabs(tau(n, i)) > rule.epsilon;
          moved += moves;
          alone += moves && moving[i] == 1;
        }
        counts[n].shared += moved - alone;
        counts[n].alone += alone;
      }
    }
  });
}
M2M_CLONES(void, look_at_overlap, (const ChunkView& chunk, const OverlapTensor& rule, OverlapCounts* counts),
           (chunk, rule, counts))

M2M_INLINE void merge_overlap_body(const ElementWork& work, const OverlapTensor& rule) {
  alignas(64) std::int32_t moving[kElementBlock];
  alignas(64) double sums[kElementBlock];
  in_blocks(work, [&](auto tag, std::int64_t from, int count, double* result) __attribute__((always_inline)) {
    const TaskVectors<typename decltype(tag)::type> tau{work.chunk, from};
    count_moving(tau, rule, count, moving);
    std::fill_n(sums, count, 0.0);
    for (std::size_t n = 0; n < rule.gains.size(); ++n) {
      for (int i = 0; i < count; ++i) {
        const double vector = tau(n, i);
        const double gained = moving[i] == 1 ? rule.gains[n] * vector : vector;
        sums[i] += std::fabs(vector) > rule.epsilon ? gained : 0.0;
      }
    }
    const auto* base = tau.input(0);
    for (int i = 0; i < count; ++i) result[i] = static_cast<double>(load(base[i])) + sums[i] / (moving[i] > 1 ? moving[i] : 1);
  });
}
M2M_CLONES(void, merge_overlap, (const ElementWork& work, const OverlapTensor& rule), (work, rule))

}  // namespace

OverlapLook::OverlapLook(const StreamPlan& plan, std::int64_t first, std::vector<OverlapTensor> tensors)
    : OverlapPass(plan, first, std::move(tensors)) {
  for (const OverlapTensor& tensor : tensors_) counts_.emplace_back(tensor.gains.size());
}

void OverlapLook::run(const ChunkView& chunk) {
  std::vector<OverlapCounts> found(rule(chunk.tensor).gains.size());
  look_at_overlap(chunk, rule(chunk.tensor), found.data());
  std::vector<OverlapCounts>& counts = counts_[chunk.tensor - first_];
  const std::lock_guard lock(mutex_);
  for (std::size_t n = 0; n < found.size(); ++n) {
    counts[n].shared += found[n].shared;
    counts[n].alone += found[n].alone;
  }
}

// An element that is NaN is one that no expert moves, so that it is not enough to look at the output.
void OverlapMergePass::run(const ChunkView& chunk) {
  if (!allow_nonfinite_) require_finite_inputs(chunk);
  merge_overlap({chunk, plan_.output(chunk.tensor, 0).dtype}, rule(chunk.tensor));
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

}  // namespace m2m
