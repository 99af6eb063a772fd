// The CUDA kernel. It also runs on the CPU in tests (tests/csrc/cuda_on_cpu.h), so it uses no barrier and no shared memory.
#pragma once

#include "core/arithmetic.h"
#include "core/merge.h"

namespace m2m {

constexpr int kThreadsPerBlock = 256;
constexpr int kVectorBytes = 16;

// Neighbouring elements that move in 16-byte accesses.
template <class T, int Lanes>
struct alignas(sizeof(T) * Lanes < kVectorBytes ? sizeof(T) * Lanes : kVectorBytes) Vector {
  T lanes[Lanes];
};

// Elements of `In` that one 16-byte load brings.
template <class In>
constexpr int kVectorLength = kVectorBytes / sizeof(In);

// Elements [p, p + Lanes) of candidates [first, first + Tile), as far as they exist. Each expert is read once.
template <class In, class Out, int Tile, int Lanes>
M2M_DEVICE void merge_lanes(const MergeArgs& args, int first, std::int64_t p) {
  using Acc = Accumulation<In>;
  Acc sums[Tile][Lanes];
#pragma unroll
  for (int m = 0; m < Tile; ++m) {
#pragma unroll
    for (int lane = 0; lane < Lanes; ++lane) sums[m][lane] = Acc(-0.0);
  }
  const Acc* weights = static_cast<const Acc*>(args.weights) + std::int64_t{first} * args.n_inputs;
  for (int n = 0; n < args.n_inputs; ++n) {
    const In* input = static_cast<const In*>(args.inputs[n]) + p;
    const Vector<In, Lanes> vector = *reinterpret_cast<const Vector<In, Lanes>*>(input);
#pragma unroll
    for (int m = 0; m < Tile; ++m) {
      const Acc weight = first + m < args.n_outputs ? weights[std::int64_t{m} * args.n_inputs + n] : Acc(0);
      if (weight == Acc(0)) continue;
#pragma unroll
      for (int lane = 0; lane < Lanes; ++lane) {
        sums[m][lane] = fused_multiply_add(weight, load(vector.lanes[lane]), sums[m][lane]);
      }
    }
  }
#pragma unroll
  for (int m = 0; m < Tile; ++m) {
    if (first + m >= args.n_outputs) break;
    Vector<Out, Lanes> vector;
#pragma unroll
    for (int lane = 0; lane < Lanes; ++lane) store(sums[m][lane], &vector.lanes[lane]);
    *reinterpret_cast<Vector<Out, Lanes>*>(static_cast<Out*>(args.outputs[first + m]) + p) = vector;
  }
}

// One thread a vector for the first `vectors` of them, then one thread an element; blockIdx.y is the tile of candidates.
// The three arrays of `args` are on the device. With pointers that are not 16-byte aligned, `vectors` is 0.
template <class In, class Out, int Tile>
__global__ void __launch_bounds__(kThreadsPerBlock) merge_kernel(MergeArgs args, std::int64_t vectors) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kThreadsPerBlock + threadIdx.x;
  const int first = blockIdx.y * Tile;
  if (thread < vectors) {
    merge_lanes<In, Out, Tile, kVectorLength<In>>(args, first, thread * kVectorLength<In>);
  } else {
    const std::int64_t element = vectors * kVectorLength<In> + (thread - vectors);
    if (element < args.count) merge_lanes<In, Out, Tile, 1>(args, first, element);
  }
}

// How a sum is cut into threads; the launch and the emulator both use it.
struct Grid {
  std::int64_t vectors;
  std::int64_t blocks;
  int tiles;
};

// `addresses_or` is the bitwise or of all input and output addresses: its low bits are zero when all are aligned.
template <class In, int Tile>
Grid grid_of(const MergeArgs& args, std::uintptr_t addresses_or) {
  const std::int64_t vectors = addresses_or % kVectorBytes == 0 ? args.count / kVectorLength<In> : 0;
  const std::int64_t threads = vectors + (args.count - vectors * kVectorLength<In>);
  return Grid{vectors, (threads + kThreadsPerBlock - 1) / kThreadsPerBlock, (args.n_outputs + Tile - 1) / Tile};
}

inline std::uintptr_t addresses_or(const MergeArgs& args) {
  std::uintptr_t bits = 0;
  for (int n = 0; n < args.n_inputs; ++n) bits |= reinterpret_cast<std::uintptr_t>(args.inputs[n]);
  for (int m = 0; m < args.n_outputs; ++m) bits |= reinterpret_cast<std::uintptr_t>(args.outputs[m]);
  return bits;
}

}  // namespace m2m
