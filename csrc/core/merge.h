// The seam between every driver (CPU loop, CUDA kernel, shard stream) and its callers: one plain struct.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace m2m {

// out[m][p] = sum over n of weights[m * n_inputs + n] * inputs[n][p], for p in [0, count).
// Pointers need element alignment only; no output may overlap an input or another output. Weights are in the
// accumulation type of `input` (double for f64, float otherwise). An input whose weight is zero in every row may be null:
// it is not read. Axes: M outputs (candidates), N inputs (experts), P = count.
struct MergeArgs {
  const void* const* inputs;  // [N], each [P] of `input`
  const void* weights;        // [M, N], row = candidate
  void* const* outputs;       // [M], each [P] of `output`
  std::int64_t count;         // P
  int n_inputs;               // N >= 1
  int n_outputs;              // M >= 1
  Dtype input;
  Dtype output;
};

// Runs the sum on at most `threads` CPU threads (>= 1). The bits do not depend on threads, instruction set, M or the
// floating-point environment of the caller. With one thread nothing is allocated, started or locked.
void merge_cpu(const MergeArgs& args, int threads);

}  // namespace m2m
