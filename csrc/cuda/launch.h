// The CUDA driver, seen from C++ that knows no CUDA.
#pragma once

#include <cstdint>

#include "core/merge.h"

namespace m2m {

// Puts the sum onto `stream` (a cudaStream_t as an integer; 0 is the default stream) of CUDA device `device`. The inputs and
// outputs are device pointers; the three arrays of `args` are on the host and may go when this returns.
// Throws std::runtime_error with CUDA's own message.
void merge_cuda(const MergeArgs& args, int device, std::uintptr_t stream);

// The same with the three arrays in the memory of the current device, too. `addresses` is the bitwise or of all input and
// output addresses: its low bits are zero when all are aligned.
void enqueue_merge(const MergeArgs& on_device, std::uintptr_t addresses, std::uintptr_t stream);

}  // namespace m2m
