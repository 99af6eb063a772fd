#include "gram/kernel.h"

#include <algorithm>
#include <cstring>

#include "core/isa_clones.h"
#include "core/ordered_sum.h"

#define M2M_INLINE inline __attribute__((always_inline))

namespace m2m {
namespace {

typedef double Vec __attribute__((vector_size(64)));  // the compiler splits it where registers are narrower
constexpr int kHalves = kLanes / 8;

M2M_INLINE void load_vec(const double* from, Vec& vec) { std::memcpy(&vec, from, sizeof vec); }

// Pairs of point x with `Group` points y. `lanes` are [Group][16], and so are `squares` if they are wanted.
template <int Group, bool Squares>
M2M_INLINE void add_group(const double* x, const double* const* y, int count, double* lanes, double* squares) {
  Vec sums[Group][kHalves], square_sums[Group][kHalves];
  std::memcpy(sums, lanes, sizeof sums);
  if constexpr (Squares) std::memcpy(square_sums, squares, sizeof square_sums);
  for (int p = 0; p < count; p += kLanes) {
#pragma GCC unroll 2
    for (int half = 0; half < kHalves; ++half) {
      Vec left, right;
      load_vec(x + p + 8 * half, left);
#pragma GCC unroll 4
      for (int g = 0; g < Group; ++g) {
        load_vec(y[g] + p + 8 * half, right);
        const Vec product = left * right;
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

void products_baseline(const double* const* points, int n_points, int count, double* lanes, double* squares) {
  add_wanted<2>(points, n_points, count, lanes, squares);
}
M2M_AVX2 void products_avx2(const double* const* points, int n_points, int count, double* lanes, double* squares) {
  add_wanted<2>(points, n_points, count, lanes, squares);
}
M2M_AVX512 void products_avx512(const double* const* points, int n_points, int count, double* lanes, double* squares) {
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

void add_products(const double* const* points, int n_points, int count, double* lanes, double* squares) {
  switch (isa_in_use()) {
    case Isa::baseline: return products_baseline(points, n_points, count, lanes, squares);
    case Isa::avx2: return products_avx2(points, n_points, count, lanes, squares);
    case Isa::avx512: return products_avx512(points, n_points, count, lanes, squares);
  }
}

M2M_CLONES(void, add_columns, (const double* const* points, int n_points, int count, double* lanes, std::int64_t stride),
           (points, n_points, count, lanes, stride))

}  // namespace m2m
