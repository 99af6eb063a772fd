#include "gram_points.h"

#include <algorithm>

#include "arithmetic.h"
#include "gram_kernel.h"
#include "isa_clones.h"

#define M2M_INLINE inline __attribute__((always_inline))

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
    std::fill(out + end, out + padded, 0.0);
  }
}

}  // namespace m2m
