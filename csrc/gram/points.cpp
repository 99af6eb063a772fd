#include "gram/points.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/arithmetic.h"
#include "core/isa.h"
#include "gram/kernel.h"

namespace m2m {
namespace {

// Which of the inputs that were read is model n?
const void* input_of(const ChunkView& chunk, int n) {
  return chunk.inputs[std::lower_bound(chunk.models, chunk.models + chunk.n_inputs, n) - chunk.models];
}

// Task vectors are rounded once, to the type inputs are summed in; then everything is float64.
template <class In>
M2M_INLINE void stage_typed(const In* point, const In* origin, int count, double* __restrict out) {
  if (origin == nullptr) {
    for (int i = 0; i < count; ++i) out[i] = load(point[i]);
  } else {
    for (int i = 0; i < count; ++i) out[i] = static_cast<Accumulation<In>>(load(point[i]) - load(origin[i]));
  }
}

// How densely the numbers of a type lie: 2^digits of them from a power of two on up to the next, never closer than
// 2^least_exponent.
struct Spacing {
  int digits;
  int least_exponent;
};

Spacing spacing_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64: return {52, -1074};
    case Dtype::f32: return {23, -149};
    case Dtype::f16: return {10, -24};
    case Dtype::bf16: return {7, -133};
  }
  throw std::invalid_argument("unknown dtype");
}

// The power of two below |x|, zero for zero and what is subnormal as a double.
M2M_INLINE double power_below(double x) { return bit_cast<double>(bit_cast<std::uint64_t>(x) & 0x7ff0000000000000u); }

M2M_INLINE void to_ulps_body(double* x, int count, double step, double least) {
  for (int i = 0; i < count; ++i) {
    const double ulp = power_below(x[i]) * step;
    x[i] = ulp > least ? ulp : least;
  }
}

M2M_CLONES(void, to_ulps, (double* x, int count, double step, double least), (x, count, step, least))

M2M_INLINE void stage_body(const void* point, const void* origin, Dtype dtype, std::int64_t from, int count, double* out) {
  dispatch(dtype, [&](auto tag) __attribute__((always_inline)) {
    using In = typename decltype(tag)::type;
    const In* base = origin == nullptr ? nullptr : static_cast<const In*>(origin) + from;
    stage_typed(static_cast<const In*>(point) + from, base, count, out);
  });
}

M2M_CLONES(void, stage, (const void* point, const void* origin, Dtype dtype, std::int64_t from, int count, double* out),
           (point, origin, dtype, from, count, out))

}  // namespace

void stage_points(const ChunkView& chunk, const GramTensor& tensor, std::int64_t from, int count, int before, double* points) {
  const void* origin = tensor.origin < 0 ? nullptr : input_of(chunk, tensor.origin);
  const int end = before + count;
  const int padded = (end + kLanes - 1) / kLanes * kLanes;
  for (int k = 0; k < tensor.n_points; ++k) {
    double* out = points + std::int64_t{k} * kGramBlock;
    std::fill_n(out, before, 0.0);
    stage(input_of(chunk, tensor.first_point + k), origin, chunk.dtype, from, count, out + before);
    if (tensor.ulps) {
      const Spacing spacing = spacing_of(tensor.stored);
      to_ulps(out + before, count, std::ldexp(1.0, -spacing.digits), std::ldexp(1.0, spacing.least_exponent));
    }
    std::fill(out + end, out + padded, 0.0);
  }
}

}  // namespace m2m
