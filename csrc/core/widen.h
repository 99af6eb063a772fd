// Numbers of one float type as numbers of a wider one, exactly.
#pragma once

#include <cstdint>

#include "core/merge.h"

namespace m2m {

// Multiplying by one in the wider type is exact, and keeps the sign of zero.
inline void widen(const void* from, Dtype narrow, void* to, Dtype wide, std::int64_t count) {
  const float one = 1.0f;
  const double wide_one = 1.0;
  MergeArgs args{};
  args.inputs = &from;
  args.weights = narrow == Dtype::f64 ? static_cast<const void*>(&wide_one) : &one;
  args.outputs = &to;
  args.count = count;
  args.n_inputs = 1;
  args.n_outputs = 1;
  args.input = narrow;
  args.output = wide;
  merge_cpu(args, 1);
}

}  // namespace m2m
