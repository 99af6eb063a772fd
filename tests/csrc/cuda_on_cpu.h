// Runs a CUDA kernel on the CPU, thread after thread, so that sanitizers see what it touches. Kernels without barriers and
// shared memory need no more than this; include it before the .cuh.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#define __global__
#define __launch_bounds__(threads)

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};
inline Index3 blockIdx, threadIdx;

enum class Order { ascending, descending, shuffled };

// Calls `kernel()` for every thread of a grid of blocks x tiles blocks, in the given order of threads.
template <class Kernel>
void run_grid(unsigned blocks, unsigned tiles, unsigned threads_per_block, Order order, Kernel&& kernel) {
  const std::uint64_t total = std::uint64_t{blocks} * tiles * threads_per_block;
  std::vector<std::uint64_t> turns(total);
  for (std::uint64_t i = 0; i < total; ++i) turns[i] = i;
  if (order == Order::descending) std::reverse(turns.begin(), turns.end());
  if (order == Order::shuffled) std::shuffle(turns.begin(), turns.end(), std::mt19937_64(5));
  for (const std::uint64_t turn : turns) {
    threadIdx.x = static_cast<unsigned>(turn % threads_per_block);
    blockIdx.x = static_cast<unsigned>(turn / threads_per_block % blocks);
    blockIdx.y = static_cast<unsigned>(turn / threads_per_block / blocks);
    kernel();
  }
}
