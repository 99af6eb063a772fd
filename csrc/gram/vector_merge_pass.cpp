#include "gram/vector_merge_pass.h"

#include <algorithm>

#include "core/arithmetic.h"
#include "core/isa.h"
#include "stream/finite.h"

namespace m2m {
namespace {

constexpr int kBlock = 512;

// Elements [from, from + count) of one chunk, for output m.
struct Block {
  const ChunkView& chunk;
  const VectorWeights& tensor;
  int n_outputs;
  int m;
  std::int64_t from;
  int count;
};

// The weight of input n for every element of the block.
template <class Acc>
M2M_INLINE void spread_weights(const Block& block, int n, Acc* out) {
  const VectorWeights& tensor = block.tensor;
  const std::int64_t step = std::int64_t{block.n_outputs} * tensor.n_inputs;
  const double* weights = tensor.weights.data() + std::int64_t{block.m} * tensor.n_inputs + n;
  const std::int64_t first = block.chunk.first + block.from;
  if (tensor.stride > 1) {
    std::int64_t column = first % tensor.stride;
    for (int i = 0; i < block.count; ++i) {
      out[i] = static_cast<Acc>(weights[column * step]);
      if (++column == tensor.stride) column = 0;
    }
    return;
  }
  for (int i = 0; i < block.count;) {
    const std::int64_t row = (first + i) / tensor.length;
    const int end = static_cast<int>(std::min<std::int64_t>(block.count, (row + 1) * tensor.length - first));
    std::fill(out + i, out + end, static_cast<Acc>(weights[row * step]));
    i = end;
  }
}

// As in the numeric contract: from -0, n ascending, one fma a term, terms without weight left out.
template <class Acc>
M2M_INLINE void merge_block(const Block& block, Dtype out_dtype) {
  alignas(64) Acc sums[kBlock], weights[kBlock];
  std::fill_n(sums, block.count, Acc(-0.0));
  for (int n = 0; n < block.chunk.n_inputs; ++n) {
    spread_weights(block, n, weights);
    dispatch(block.chunk.dtype, [&](auto tag) __attribute__((always_inline)) {
      using In = typename decltype(tag)::type;
      if constexpr (std::is_same_v<Accumulation<In>, Acc>) {
        const In* input = static_cast<const In*>(block.chunk.inputs[n]) + block.from;
        for (int i = 0; i < block.count; ++i) {
          const Acc sum = fused_multiply_add(weights[i], load(input[i]), sums[i]);
          sums[i] = weights[i] != 0 ? sum : sums[i];
        }
      }
    });
  }
  dispatch(out_dtype, [&](auto tag) __attribute__((always_inline)) {
    using Out = typename decltype(tag)::type;
    Out* out = static_cast<Out*>(block.chunk.outputs[block.m]) + block.from;
    for (int i = 0; i < block.count; ++i) store(sums[i], out + i);
  });
}

M2M_INLINE void merge_vectors_body(const Block& block, Dtype out_dtype) {
  block.chunk.dtype == Dtype::f64 ? merge_block<double>(block, out_dtype) : merge_block<float>(block, out_dtype);
}

M2M_CLONES(void, merge_vectors, (const Block& block, Dtype out_dtype), (block, out_dtype))

}  // namespace

void VectorMergePass::run(const ChunkView& chunk) {
  const VectorWeights& tensor = tensors_[chunk.tensor - first_];
  for (int m = 0; m < plan_.n_outputs; ++m) {
    const Dtype out_dtype = plan_.output(chunk.tensor, m).dtype;
    for (std::int64_t from = 0; from < chunk.count; from += kBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(kBlock, chunk.count - from));
      merge_vectors({chunk, tensor, plan_.n_outputs, m, from, count}, out_dtype);
    }
  }
  if (!allow_nonfinite_) require_finite_outputs(chunk, plan_);
}

}  // namespace m2m
