#include "gram/kernel.h"

#include <algorithm>
#include <cstring>

#include "core/isa.h"
#include "core/ordered_sum.h"
#include "core/pack.h"

namespace m2m {
namespace {

using Half = Pack<double, kLanes / 2>;  // the compiler splits it where registers are narrower

// Pairs of point x with `Group` points y. `lanes` are [Group][16], and so are `squares` if they are wanted.
template <int Group, bool Squares>
M2M_INLINE void add_group(const double* x, const double* const* y, int count, double* lanes, double* squares) {
  Half sums[Group][2], square_sums[Group][2];
  std::memcpy(sums, lanes, sizeof sums);
  if constexpr (Squares) std::memcpy(square_sums, squares, sizeof square_sums);
  for (int p = 0; p < count; p += kLanes) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Half left, right;
      load_pack(x + p + kLanes / 2 * half, left);
#pragma GCC unroll 4
      for (int g = 0; g < Group; ++g) {
        load_pack(y[g] + p + kLanes / 2 * half, right);
        const Half product = left * right;
        sums[g][half] += product;
        if constexpr (Squares) square_sums[g][half] += product * product;
      }
    }
  }
  std::memcpy(lanes, sums, sizeof sums);
  if constexpr (Squares) std::memcpy(squares, square_sums, sizeof square_sums);
}

// As many whole groups as there are, the rest in smaller ones.
template <int Group, bool Squares>
M2M_INLINE void add_row(const double* x, const double* const* y, int n, int count, double* lanes, double* squares) {
  int k = 0;
  for (; k + Group <= n; k += Group)
    add_group<Group, Squares>(x, y + k, count, lanes + k * kLanes, squares + (Squares ? k * kLanes : 0));
  if constexpr (Group > 1)
    add_row<Group / 2, Squares>(x, y + k, n - k, count, lanes + k * kLanes, squares + (Squares ? k * kLanes : 0));
}

template <int Group, bool Squares>
M2M_INLINE void add_all(const double* const* points, int n_points, int count, double* lanes, double* squares) {
  for (int i = 0; i < n_points; ++i) {
    add_row<Group, Squares>(points[i], points, i + 1, count, lanes, squares);
    lanes += (i + 1) * kLanes;
    if constexpr (Squares) squares += (i + 1) * kLanes;
  }
}

// Groups are as large as the registers hold sums for, so the instruction set decides.
template <int Group>
M2M_INLINE void add_wanted(const double* const* points, int n_points, int count, double* lanes, double* squares) {
  if (squares == nullptr) return add_all<Group, false>(points, n_points, count, lanes, squares);
  add_all<Group / 2, true>(points, n_points, count, lanes, squares);
}

void add_products_baseline(const double* const* points, int n_points, int count, double* lanes, double* squares) {
  add_wanted<2>(points, n_points, count, lanes, squares);
}
M2M_AVX2 void add_products_avx2(const double* const* points, int n_points, int count, double* lanes, double* squares) {
  add_wanted<2>(points, n_points, count, lanes, squares);
}
M2M_AVX512 void add_products_avx512(const double* const* points, int n_points, int count, double* lanes, double* squares) {
  add_wanted<4>(points, n_points, count, lanes, squares);
}

M2M_INLINE void add_columns_body(const double* const* points, int n_points, int count, double* lanes, std::int64_t stride) {
  for (int i = 0; i < n_points; ++i) {
    for (int k = 0; k <= i; ++k, lanes += stride) {
      const double* __restrict x = points[i];
      const double* __restrict y = points[k];
      double* __restrict sums = lanes;
      for (int c = 0; c < count; ++c) sums[c] += x[c] * y[c];
    }
  }
}

}  // namespace

M2M_DISPATCH(void, add_products, (const double* const* points, int n_points, int count, double* lanes, double* squares),
             (points, n_points, count, lanes, squares))

M2M_CLONES(void, add_columns, (const double* const* points, int n_points, int count, double* lanes, std::int64_t stride),
           (points, n_points, count, lanes, stride))

}  // namespace m2m
