// The CPU driver: walks over cache-sized blocks; in a block each expert is read once, whatever M is.
#include <algorithm>

#include "core/arithmetic.h"
#include "core/float_environment.h"
#include "core/isa.h"
#include "core/merge.h"
#include "core/parts.h"

namespace m2m {
namespace {

constexpr int kBlock = 512;  // elements at a time: 8 staged experts and one row of sums fit a 32 KiB L1
constexpr int kSlab = 16;    // experts staged at once
constexpr int kTile = 8;     // candidates summed between two slabs
constexpr int kGroup = 8;    // most terms added to a sum between its load and its store
constexpr int kCacheLine = 64;
constexpr std::int64_t kMinPerThread = 1 << 15;  // elements that are worth starting a thread for

// One block of one slab of experts in accumulation type. An expert is staged when a candidate first uses it.
template <class Acc>
struct Slab {
  alignas(64) Acc rooms[kSlab][kBlock];
  const Acc* staged[kSlab];
  int first = -1;  // the slab's first expert; none yet

  M2M_INLINE void move_to(int expert) {
    if (first != expert) std::fill_n(staged, kSlab, nullptr);
    first = expert;
  }
};

// The terms of one candidate in one slab: the experts whose weight is not zero.
template <class Acc>
struct Terms {
  const Acc* values[kSlab];
  Acc weights[kSlab];
  int count = 0;
};

// An expert's block as accumulation type: in place if it is that already, else converted into `room`.
template <class Acc>
M2M_INLINE const Acc* stage(const MergeArgs& args, int n, std::int64_t start, int count, Acc* __restrict room) {
  const Acc* staged = room;
  dispatch(args.input, [&](auto tag) __attribute__((always_inline)) {
    using In = typename decltype(tag)::type;
    const In* source = static_cast<const In*>(args.inputs[n]) + start;
    if constexpr (std::is_same_v<In, Acc>) {
      staged = source;
    } else if constexpr (std::is_same_v<Accumulation<In>, Acc>) {
      for (int i = 0; i < count; ++i) room[i] = load(source[i]);
    }
  });
  return staged;
}

template <class Acc>
M2M_INLINE void collect_terms(const MergeArgs& args, int m, std::int64_t start, int count, Slab<Acc>& slab, Terms<Acc>& terms) {
  const Acc* weights = static_cast<const Acc*>(args.weights) + std::int64_t{m} * args.n_inputs + slab.first;
  const int experts = std::min(kSlab, args.n_inputs - slab.first);
  for (int n = 0; n < experts; ++n) {
    if (weights[n] == 0) continue;
    if (slab.staged[n] == nullptr) slab.staged[n] = stage(args, slab.first + n, start, count, slab.rooms[n]);
    terms.values[terms.count] = slab.staged[n];
    terms.weights[terms.count] = weights[n];
    ++terms.count;
  }
}

// Adds `Group` terms between one load and one store of each sum.
template <int Group, class Acc>
M2M_INLINE void add_group(const Acc* const* values, const Acc* weights, int count, Acc* __restrict sums) {
  const Acc* x[Group];
  Acc a[Group];
  for (int g = 0; g < Group; ++g) {
    x[g] = values[g];
    a[g] = weights[g];
  }
  for (int i = 0; i < count; ++i) {
    Acc sum = sums[i];
#pragma GCC unroll 8
    for (int g = 0; g < Group; ++g) sum = fused_multiply_add(a[g], x[g][i], sum);
    sums[i] = sum;
  }
}

// Adds all terms in order: as many whole groups of `Group` as there are, the rest in smaller ones.
template <int Group, class Acc>
M2M_INLINE void add_terms(const Terms<Acc>& terms, int from, int count, Acc* __restrict sums) {
  for (; from + Group <= terms.count; from += Group) {
    add_group<Group>(terms.values + from, terms.weights + from, count, sums);
  }
  if constexpr (Group > 1) add_terms<Group / 2>(terms, from, count, sums);
}

template <class Acc>
M2M_INLINE void store_row(const MergeArgs& args, int m, std::int64_t start, int count, const Acc* __restrict sums) {
  dispatch(args.output, [&](auto tag) __attribute__((always_inline)) {
    using Out = typename decltype(tag)::type;
    Out* __restrict out = static_cast<Out*>(args.outputs[m]) + start;
    for (int i = 0; i < count; ++i) store(sums[i], out + i);
  });
}

template <bool ToWrite>
M2M_INLINE void prefetch(const void* tensor, Dtype dtype, std::int64_t start, std::int64_t count) {
  const std::int64_t size = size_of(dtype);
  const char* bytes = static_cast<const char*>(tensor) + start * size;
  for (std::int64_t i = 0; i < count * size; i += kCacheLine) __builtin_prefetch(bytes + i, ToWrite);
}

// While row m is summed, memory brings its output's lines and this row's share of the next block's inputs. The hardware's
// own prefetcher loses each stream at the end of a block; spread over the rows, requests do not queue up.
template <class Acc>
M2M_INLINE void prefetch_for_row(const MergeArgs& args, int m, int rows, std::int64_t start, int count, const Slab<Acc>& slab) {
  prefetch<true>(args.outputs[m], args.output, start, count);
  const std::int64_t next = start + count;
  const int experts = std::min(kSlab, args.n_inputs - slab.first);
  if (m >= rows) return;  // a later tile: the first one has asked for all inputs
  for (int n = m; n < experts; n += rows) {
    if (slab.staged[n] == nullptr) continue;
    prefetch<false>(args.inputs[slab.first + n], args.input, next, std::min<std::int64_t>(kBlock, args.count - next));
  }
}

// Elements [start, start + count) of all candidates; count <= kBlock.
template <class Acc>
M2M_INLINE void merge_block(const MergeArgs& args, std::int64_t start, int count) {
  alignas(64) Acc sums[kTile][kBlock];
  Slab<Acc> slab;
  for (int tile = 0; tile < args.n_outputs; tile += kTile) {
    const int rows = std::min(kTile, args.n_outputs - tile);
    for (int m = 0; m < rows; ++m) std::fill_n(sums[m], count, Acc(-0.0));
    for (int expert = 0; expert < args.n_inputs; expert += kSlab) {
      slab.move_to(expert);
      for (int m = 0; m < rows; ++m) {
        Terms<Acc> terms;
        collect_terms(args, tile + m, start, count, slab, terms);
        if (expert == 0) prefetch_for_row(args, tile + m, rows, start, count, slab);
        add_terms<kGroup>(terms, 0, count, sums[m]);
      }
    }
    for (int m = 0; m < rows; ++m) store_row(args, tile + m, start, count, sums[m]);
  }
}

M2M_INLINE void merge_range_body(const MergeArgs& args, std::int64_t begin, std::int64_t end) {
  for (std::int64_t start = begin; start < end; start += kBlock) {
    const int count = static_cast<int>(std::min<std::int64_t>(kBlock, end - start));
    if (args.input == Dtype::f64) {
      merge_block<double>(args, start, count);
    } else {
      merge_block<float>(args, start, count);
    }
  }
}

// Without an FMA instruction, fmaf is a library call: slow, the same bits.
M2M_CLONES(void, merge_range, (const MergeArgs& args, std::int64_t begin, std::int64_t end), (args, begin, end))

}  // namespace

void merge_cpu(const MergeArgs& args, int threads) {
  run_parts(args.count, kBlock, kMinPerThread, threads, [&](std::int64_t begin, std::int64_t end) {
    const DefaultFloatEnvironment environment;
    merge_range(args, begin, end);
  });
}

}  // namespace m2m
