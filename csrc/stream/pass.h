// The seam between moving bytes and what is done with them: one pass over the chunks of some tensors of a plan.
#pragma once

#include <cstdint>

#include "core/merge_device.h"
#include "stream/plan.h"

namespace m2m {

// A run of elements of one tensor, in memory. Pointers are aligned for vector loads.
struct ChunkView {
  std::int64_t tensor;        // index into the plan's tensors
  std::int64_t first;         // first element of the run
  std::int64_t count;         // elements
  int worker;                 // number of the thread that runs it, from 0
  int n_inputs;               // how many were read: those that `wants` asked for, in order
  const int* models;          // [n_inputs] which input each one is
  const void* const* inputs;  // [n_inputs], each [count] of `dtype`
  void* const* outputs;       // [M], each [count] of the output's dtype, to be filled
  Dtype dtype;                // of all inputs: narrower ones have been widened, exactly
};

// A pass is given one chunk at a time, by several threads at once; only tensors that are merged, never copied ones. It may
// keep sums per tensor (behind its own lock, or per worker). With `writes()` false it only looks: a method that needs to
// know the whole tensor looks first and writes in a later pass.
class StreamPass {
 public:
  virtual ~StreamPass() = default;

  // Must input n of this tensor be read? A pass that looks and wants no input of a tensor is not run on it.
  virtual bool wants(std::int64_t tensor, int n) const = 0;
  virtual bool writes() const { return true; }
  virtual MergeDevice& device() const { return cpu_device(); }  // gives the workers their staging memory

  // Runs of this many elements, counted from the tensor's first, go to one worker, which is given their chunks in ascending
  // order: for sums whose order matters, and for rows. 0: every chunk may go to any worker at any time.
  virtual std::int64_t span(std::int64_t) const { return 0; }

  // Of each span only so many elements are read and given to the pass, the first ones: a sample. 0: all. Only for passes that
  // look.
  virtual std::int64_t head(std::int64_t) const { return 0; }

  // Every chunk holds a multiple of this many elements: rows that must be in memory whole (the slots are long enough for one).
  virtual std::int64_t row(std::int64_t) const { return 1; }

  // Called once, before the first chunk, with the number of workers.
  virtual void start(int) {}

  virtual void run(const ChunkView& chunk) = 0;  // throws StreamFailure
};

}  // namespace m2m
