#include "gram/points.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>

#include "core/arithmetic.h"
#include "core/isa.h"

namespace m2m {
namespace {

// Which of the inputs that were read is model n?
const void* input_of(const ChunkView& chunk, int n) {
  return chunk.inputs[std::lower_bound(chunk.models, chunk.models + chunk.n_inputs, n) - chunk.models];
}

// Task vectors are rounded once, to the type inputs are summed in; what follows from there on is exact.
template <class In>
M2M_INLINE void stage_typed(const In* point, const In* origin, int count, float* __restrict narrow, double* __restrict wide) {
  for (int i = 0; i < count; ++i) {
    const Accumulation<In> value = origin == nullptr ? load(point[i]) : load(point[i]) - load(origin[i]);
    if constexpr (!std::is_same_v<In, double>) narrow[i] = value;
    wide[i] = value;
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

// Elements of one point, from their first one on.
struct Stage {
  const void* point;
  const void* origin;  // or null
  Dtype dtype;
  std::int64_t from;
  int count;
};

M2M_INLINE void stage_body(const Stage& stage, float* narrow, double* wide) {
  dispatch(stage.dtype, [&](auto tag) __attribute__((always_inline)) {
    using In = typename decltype(tag)::type;
    const In* origin = stage.origin == nullptr ? nullptr : static_cast<const In*>(stage.origin) + stage.from;
    stage_typed(static_cast<const In*>(stage.point) + stage.from, origin, stage.count, narrow, wide);
  });
}

M2M_CLONES(void, stage, (const Stage& stage, float* narrow, double* wide), (stage, narrow, wide))

// Zeros around the elements [first, last).
template <class Real>
void fill_up(int first, int last, Real* values) {
  std::fill_n(values, first, Real(0));
  std::fill(values + last, values + (last + kPadding - 1) / kPadding * kPadding, Real(0));
}

}  // namespace

void stage_points(const ChunkView& chunk, const GramTensor& tensor, std::int64_t from, int count, int before,
                  StagedPoints& points) {
  points.narrow.resize(tensor.n_points);
  points.wide.resize(tensor.n_points);
  const void* origin = tensor.origin < 0 ? nullptr : input_of(chunk, tensor.origin);
  for (int k = 0; k < tensor.n_points; ++k) {
    float* narrow = points.narrow[k].values;
    double* wide = points.wide[k].values;
    stage({input_of(chunk, tensor.first_point + k), origin, chunk.dtype, from, count}, narrow + before, wide + before);
    if (tensor.ulps) {
      const Spacing spacing = spacing_of(tensor.stored);
      to_ulps(wide + before, count, std::ldexp(1.0, -spacing.digits), std::ldexp(1.0, spacing.least_exponent));
    }
    fill_up(before, before + count, narrow);
    fill_up(before, before + count, wide);
  }
}

}  // namespace m2m
