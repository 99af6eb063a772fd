// Weighted sums of tensors and of products of factors, all in memory: what models with adapters on them are merged to.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace m2m {

// One term: a tensor, or a product (see lora/product.h). Matrices are contiguous.
struct LoraTerm {
  const void* left;   // [rows, rank], or the tensor itself, [P]
  const void* right;  // [rank, columns]; null for a tensor
  Dtype dtype;        // of the tensor; of both factors: f32 or f64
  std::int64_t rank;  // of a product, >= 1
  std::int64_t columns;
};

// out[m][p] = sum over t of weights[m * n_terms + t] * terms[t][p], in float64, as merge_cpu has it (core/merge.h): t
// ascending, one rounding to `output`. A product has P = rows * columns elements.
struct LoraSumArgs {
  const LoraTerm* terms;  // [T]
  const double* weights;  // [M, T]
  void* const* outputs;   // [M], each [P] of `output`; none overlaps a term
  std::int64_t count;     // P
  int n_terms;            // T >= 1
  int n_outputs;          // M >= 1
  Dtype output;
};

// Runs on at most `threads` CPU threads (>= 1). No term is ever whole in memory as float64, and one whose weight is zero in
// every row is not formed. The bits do not depend on threads, instruction set or M.
void lora_sum(const LoraSumArgs& args, int threads);

}  // namespace m2m
