// Where the stream's sums are computed: on the CPU by the worker itself, or on another device that it waits for.
#pragma once

#include <cstdint>

#include "core/merge.h"

namespace m2m {

class MergeDevice {
 public:
  virtual ~MergeDevice() = default;

  // Staging memory that the device can be given, aligned to 4096 bytes. Throws std::bad_alloc.
  virtual void* allocate(std::int64_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;

  // The sum of core/merge.h, its inputs and outputs in staging memory; returns when the outputs are there. Several workers call
  // it at once, each with its own number, from 0. Throws std::runtime_error if the device fails.
  virtual void merge(const MergeArgs& args, int worker) = 0;
};

// Merges in the thread that calls.
MergeDevice& cpu_device();

}  // namespace m2m
