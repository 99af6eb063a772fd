// The CUDA driver, seen from C++ that knows no CUDA.
#pragma once

#include <cstdint>

#include "merge.h"

namespace m2m {

// Puts the sum onto `stream` (a cudaStream_t as an integer; 0 is the default stream) of CUDA device `device`. The inputs and
// outputs are device pointers; the three arrays of `args` are on the host and may go when this returns.
// Throws std::runtime_error with CUDA's own message.
void merge_cuda(const MergeArgs& args, int device, std::uintptr_t stream);

}  // namespace m2m
