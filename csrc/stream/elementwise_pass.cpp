#include "stream/elementwise_pass.h"

#include <algorithm>
#include <cmath>

#include "core/arithmetic.h"
#include "core/isa.h"
#include "stream/finite.h"

namespace m2m {
namespace {

constexpr int kBlock = 512;

// A chunk with the types of its inputs and its output known at run time only.
struct Work {
  const ChunkView& chunk;
  Dtype out_dtype;
};

template <class Body>
M2M_INLINE void with_types(const Work& work, Body&& body) {
  dispatch(work.chunk.dtype, [&](auto in) __attribute__((always_inline)) {
    dispatch(work.out_dtype, [&](auto out) __attribute__((always_inline)) { body(in, out); });
  });
}

// Task vectors are rounded once, to the type inputs are summed in; then everything is float64.
struct NearSwap {
  double step;

  M2M_INLINE void operator()(const Work& work) const {
    with_types(work, [&](auto in_tag, auto out_tag) __attribute__((always_inline)) {
      using In = typename decltype(in_tag)::type;
      using Out = typename decltype(out_tag)::type;
      const In* base = static_cast<const In*>(work.chunk.inputs[0]);
      const In* expert = static_cast<const In*>(work.chunk.inputs[1]);
      Out* __restrict out = static_cast<Out*>(work.chunk.outputs[0]);
      for (std::int64_t i = 0; i < work.chunk.count; ++i) {
        const Accumulation<In> rounded = load(expert[i]) - load(base[i]);
        const double tau = rounded, near = load(expert[i]);
        const double far = static_cast<double>(load(base[i])) + std::copysign(step, tau);
        store(std::fabs(tau) <= step ? near : far, out + i);
      }
    });
  }
};

struct Fisher {
  const FisherTensor& tensor;

  M2M_INLINE void operator()(const Work& work) const {
    for (std::int64_t from = 0; from < work.chunk.count; from += kBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(kBlock, work.chunk.count - from));
      with_types(work, [&](auto in_tag, auto out_tag) __attribute__((always_inline)) {
        block<typename decltype(in_tag)::type, typename decltype(out_tag)::type>(work, from, count);
      });
    }
  }

  template <class In, class Out>
  M2M_INLINE void block(const Work& work, std::int64_t from, int count) const {
    alignas(64) double above[kBlock] = {}, below[kBlock] = {};
    const std::size_t n_experts = tensor.weights.size();
    for (std::size_t n = 0; n < n_experts; ++n) {
      const In* expert = static_cast<const In*>(work.chunk.inputs[n]) + from;
      const In* fisher = static_cast<const In*>(work.chunk.inputs[n_experts + n]) + from;
      for (int i = 0; i < count; ++i) {
        const double estimate = load(fisher[i]);
        const double share = tensor.weights[n] * (estimate < tensor.floor ? tensor.floor : estimate);
        above[i] += share * static_cast<double>(load(expert[i]));
        below[i] += share;
      }
    }
    Out* __restrict out = static_cast<Out*>(work.chunk.outputs[0]) + from;
    for (int i = 0; i < count; ++i) store(above[i] / below[i], out + i);
  }
};

M2M_INLINE void near_swap_body(const NearSwap& method, const Work& work) { method(work); }
M2M_CLONES(void, near_swap, (const NearSwap& method, const Work& work), (method, work))

M2M_INLINE void fisher_body(const Fisher& method, const Work& work) { method(work); }
M2M_CLONES(void, fisher, (const Fisher& method, const Work& work), (method, work))

}  // namespace

void NearSwapPass::run(const ChunkView& chunk) {
  near_swap(NearSwap{steps_[chunk.tensor - first_]}, {chunk, plan_.output(chunk.tensor, 0).dtype});
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

void FisherPass::run(const ChunkView& chunk) {
  if (!allow_nonfinite_) require_finite_inputs(chunk);
  require_no_negative(chunk);
  fisher(Fisher{tensors_[chunk.tensor - first_]}, {chunk, plan_.output(chunk.tensor, 0).dtype});
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

void FisherPass::require_no_negative(const ChunkView& chunk) const {
  const int n_experts = chunk.n_inputs / 2;
  dispatch(chunk.dtype, [&](auto tag) {
    using In = typename decltype(tag)::type;
    for (int n = n_experts; n < chunk.n_inputs; ++n) {
      const In* fisher = static_cast<const In*>(chunk.inputs[n]);
      bool any = false;
      for (std::int64_t i = 0; i < chunk.count; ++i) any |= load(fisher[i]) < 0;
      if (!any) continue;
      const In* found = std::find_if(fisher, fisher + chunk.count, [](In value) { return load(value) < 0; });
      throw StreamFailure(FailureKind::negative, chunk.tensor, chunk.models[n], chunk.first + (found - fisher));
    }
  });
}

}  // namespace m2m
