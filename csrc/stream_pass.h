// The seam between moving bytes and what is done with them: one pass over all chunks of a plan.
#pragma once

#include <cstdint>

#include "stream_plan.h"

namespace m2m {

// A run of elements of one tensor, in memory. Pointers are aligned for vector loads.
struct ChunkView {
  std::int64_t tensor;         // index into the plan's tensors
  std::int64_t first;          // first element of the run
  std::int64_t count;          // elements
  int n_inputs;                // how many were read: those that `wants` asked for, in order
  const int* models;           // [n_inputs] which input each one is
  const void* const* inputs;   // [n_inputs], each [count] of `dtype`
  void* const* outputs;        // [M], each [count] of the output's dtype, to be filled
  Dtype dtype;                 // of all inputs of a merged tensor: narrower ones have been widened, exactly
};

// A pass is asked for one chunk at a time, by several threads at once. It may keep sums per tensor (behind its own lock or
// per worker), and with `writes()` false it only looks: a method that needs a threshold looks first and writes in a second pass.
class StreamPass {
 public:
  virtual ~StreamPass() = default;
  virtual bool wants(std::int64_t tensor, int n) const = 0;  // must input n of this tensor be read?
  virtual bool writes() const { return true; }
  virtual void run(const ChunkView& chunk) = 0;  // throws StreamFailure
};

}  // namespace m2m
