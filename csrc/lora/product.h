// What a LoRA adapter adds to a weight, before its scale: a product of two thin matrices, formed where it is needed.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace m2m {

// sums[e] = Σ_k left[i, k] · right[k, j], k ascending, for the elements e = i · columns + j in [first, first + count).
// Every product and every addition is rounded to float64 on its own; products of factors of at most 32 bits are exact.
struct LoraProductArgs {
  const void* left;   // [rows, rank]
  const void* right;  // [rank, columns]
  Dtype dtype;        // of both: f32 or f64
  std::int64_t rank;  // >= 1
  std::int64_t columns;
  std::int64_t first;
  std::int64_t count;
  double* sums;  // [count]
};

// The bits do not depend on how a matrix is cut into runs, or on the instruction set. Nothing is allocated or locked.
void lora_product(const LoraProductArgs& args);

}  // namespace m2m
