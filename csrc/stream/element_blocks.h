// What passes share that compute each element alone: a chunk in blocks, each computed in float64 and rounded once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/arithmetic.h"
#include "stream/pass.h"

namespace m2m {

constexpr int kElementBlock = 512;

// A chunk with the types of its inputs and its output known at run time only.
struct ElementWork {
  const ChunkView& chunk;
  Dtype out_dtype;
};

// In blocks whose sums stay in the first-level cache: `body` fills `result`, which is then stored.
template <class Body>
M2M_INLINE void in_blocks(const ElementWork& work, Body&& body) {
  alignas(64) double result[kElementBlock];
  for (std::int64_t from = 0; from < work.chunk.count; from += kElementBlock) {
    const int count = static_cast<int>(std::min<std::int64_t>(kElementBlock, work.chunk.count - from));
    dispatch(work.chunk.dtype, [&](auto in) __attribute__((always_inline)) { body(in, from, count, result); });
    dispatch(work.out_dtype, [&](auto tag) __attribute__((always_inline)) {
      using Out = typename decltype(tag)::type;
      Out* __restrict out = static_cast<Out*>(work.chunk.outputs[0]) + from;
      for (int i = 0; i < count; ++i) store(result[i], out + i);
    });
  }
}

// The task vectors of one block. Each is rounded once, to the type inputs are summed in.
template <class In>
struct TaskVectors {
  const ChunkView& chunk;
  std::int64_t from;

  M2M_INLINE double operator()(std::size_t n, int i) const {
    const Accumulation<In> tau = load(input(1 + n)[i]) - load(input(0)[i]);
    return tau;
  }
  M2M_INLINE const In* input(std::size_t n) const { return static_cast<const In*>(chunk.inputs[n]) + from; }
};

}  // namespace m2m
