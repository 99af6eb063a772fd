#include "stream/elementwise_pass.h"

#include <algorithm>
#include <cmath>

#include "core/isa.h"
#include "stream/element_blocks.h"
#include "stream/finite.h"

namespace m2m {
namespace {

// Task vectors are rounded once, to the type inputs are summed in; then everything is float64.
struct NearSwap {
  double step;

  M2M_INLINE void operator()(const ElementWork& work) const {
    in_blocks(work, [&](auto tag, std::int64_t from, int count, double* result) __attribute__((always_inline)) {
      using In = typename decltype(tag)::type;
      const In* base = static_cast<const In*>(work.chunk.inputs[0]) + from;
      const In* expert = static_cast<const In*>(work.chunk.inputs[1]) + from;
      for (int i = 0; i < count; ++i) {
        const Accumulation<In> rounded = load(expert[i]) - load(base[i]);
        const double tau = rounded, near = load(expert[i]);
        const double far = static_cast<double>(load(base[i])) + std::copysign(step, tau);
        result[i] = std::fabs(tau) <= step ? near : far;
      }
    });
  }
};

struct Fisher {
  const FisherTensor& tensor;

  M2M_INLINE void operator()(const ElementWork& work) const {
    in_blocks(work, [&](auto tag, std::int64_t from, int count, double* result) __attribute__((always_inline)) {
      block<typename decltype(tag)::type>(work.chunk, from, count, result);
    });
  }

  template <class In>
  M2M_INLINE void block(const ChunkView& chunk, std::int64_t from, int count, double* result) const {
    alignas(64) double above[kElementBlock] = {}, below[kElementBlock] = {};
    const std::size_t n_experts = tensor.weights.size();
    for (std::size_t n = 0; n < n_experts; ++n) {
      const In* expert = static_cast<const In*>(chunk.inputs[n]) + from;
      const In* fisher = static_cast<const In*>(chunk.inputs[n_experts + n]) + from;
      for (int i = 0; i < count; ++i) {
        const double estimate = load(fisher[i]);
        const double share = tensor.weights[n] * (estimate < tensor.floor ? tensor.floor : estimate);
        above[i] += share * static_cast<double>(load(expert[i]));
        below[i] += share;
      }
    }
    for (int i = 0; i < count; ++i) result[i] = above[i] / below[i];
  }
};

struct Preconditioned {
  const PreconditionedTensor& tensor;

  M2M_INLINE void operator()(const ElementWork& work) const {
    in_blocks(work, [&](auto tag, std::int64_t from, int count, double* result) __attribute__((always_inline)) {
      block<typename decltype(tag)::type>(work.chunk, from, count, result);
    });
  }

  template <class In>
  M2M_INLINE void block(const ChunkView& chunk, std::int64_t from, int count, double* result) const {
    alignas(64) double metric[kElementBlock] = {}, change[kElementBlock] = {};
    const std::vector<double>& shares = tensor.used;
    const std::size_t n_experts = shares.size();
    const In* base = static_cast<const In*>(chunk.inputs[0]) + from;
    const auto expert = [&](std::size_t n) { return static_cast<const In*>(chunk.inputs[1 + n]) + from; };
    const auto moment = [&](std::size_t n) { return static_cast<const In*>(chunk.inputs[1 + n_experts + n]) + from; };
    if (tensor.has_moments) {
      for (std::size_t n = 0; n < n_experts; ++n) {
        const In* own = moment(n);
        for (int i = 0; i < count; ++i) metric[i] += shares[n] * static_cast<double>(load(own[i]));
      }
      for (int i = 0; i < count; ++i) metric[i] = std::sqrt(metric[i]) + tensor.eps;
    }
    for (std::size_t n = 0; n < n_experts; ++n) {
      const In* own = tensor.has_moments ? moment(n) : nullptr;
      const In* moved = expert(n);
      for (int i = 0; i < count; ++i) {
        const Accumulation<In> tau = load(moved[i]) - load(base[i]);
        const double ratio = own ? (std::sqrt(static_cast<double>(load(own[i]))) + tensor.eps) / metric[i] : 1.0;
        change[i] += (shares[n] * ratio) * static_cast<double>(tau);
      }
    }
    for (int i = 0; i < count; ++i) result[i] = static_cast<double>(load(base[i])) + change[i] * tensor.factor;
  }
};

M2M_INLINE void near_swap_body(const NearSwap& method, const ElementWork& work) { method(work); }
M2M_CLONES(void, near_swap, (const NearSwap& method, const ElementWork& work), (method, work))

M2M_INLINE void fisher_body(const Fisher& method, const ElementWork& work) { method(work); }
M2M_CLONES(void, fisher, (const Fisher& method, const ElementWork& work), (method, work))

M2M_INLINE void preconditioned_body(const Preconditioned& method, const ElementWork& work) { method(work); }
M2M_CLONES(void, preconditioned, (const Preconditioned& method, const ElementWork& work), (method, work))

// Estimates of mean squares, the inputs from `first` on, are 0 or more; NaN is looked for elsewhere.
void require_no_negative(const ChunkView& chunk, int first) {
  dispatch(chunk.dtype, [&](auto tag) {
    using In = typename decltype(tag)::type;
    for (int n = first; n < chunk.n_inputs; ++n) {
      const In* estimate = static_cast<const In*>(chunk.inputs[n]);
      bool any = false;
      for (std::int64_t i = 0; i < chunk.count; ++i) any |= load(estimate[i]) < 0;
      if (!any) continue;
      const In* found = std::find_if(estimate, estimate + chunk.count, [](In value) { return load(value) < 0; });
      throw StreamFailure(FailureKind::negative, chunk.tensor, chunk.models[n], chunk.first + (found - estimate));
    }
  });
}

}  // namespace

void NearSwapPass::run(const ChunkView& chunk) {
  near_swap(NearSwap{steps_[chunk.tensor - first_]}, {chunk, plan_.output(chunk.tensor, 0).dtype});
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

void FisherPass::run(const ChunkView& chunk) {
  if (!allow_nonfinite_) require_finite_inputs(chunk);
  require_no_negative(chunk, chunk.n_inputs / 2);
  fisher(Fisher{tensors_[chunk.tensor - first_]}, {chunk, plan_.output(chunk.tensor, 0).dtype});
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

bool PreconditionedPass::wants(std::int64_t tensor, int n) const {
  const PreconditionedTensor& own = tensors_[tensor - first_];
  const int n_experts = static_cast<int>(own.shares.size());
  if (n == 0) return true;
  if (n <= n_experts) return own.shares[n - 1] != 0;
  return own.has_moments && n <= n_experts + static_cast<int>(own.used.size());
}

void PreconditionedPass::run(const ChunkView& chunk) {
  const PreconditionedTensor& tensor = tensors_[chunk.tensor - first_];
  require_no_negative(chunk, 1 + static_cast<int>(tensor.used.size()));
  preconditioned(Preconditioned{tensor}, {chunk, plan_.output(chunk.tensor, 0).dtype});
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

}  // namespace m2m
