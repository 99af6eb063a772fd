#include "gram/kernel.h"

#include <cstdint>

#include "core/isa.h"
#include "core/ordered_sum.h"
#include "core/pack.h"
#include "gram/layout.h"

namespace m2m {
namespace {

// The most points a side of a tile of pairs, so that registers hold a sum for every pair and what is added to them.
template <int Width>
constexpr int kTile = Width == 8 ? 4 : 3;

template <Products kProducts, class APack>
M2M_INLINE void load_point(const double* from, APack& pack) {
  load_pack(from, pack);
  if constexpr (kProducts == Products::of_squares) pack *= pack;
}

// The pairs of `Rows` points x with `Columns` points y; on the diagonal, where both are the same, each pair once. at[r] are the
// lanes of x[r] and y[0]. One register's share of the lanes is summed after the other.
template <int Width, int Rows, int Columns, bool Diagonal, Products kProducts>
M2M_INLINE void add_tile(const PointBlock<double>* x, const PointBlock<double>* y, int count, double* const* at) {
  for (int lane = 0; lane < kLanes; lane += Width) {
    Pack<double, Width> sums[Rows][Columns];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < (Diagonal ? r + 1 : Columns); ++c) load_pack(at[r] + c * kLanes + lane, sums[r][c]);
    for (int p = lane; p < count; p += kLanes) {
      Pack<double, Width> left[Rows], right;
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) load_point<kProducts>(x[r].values + p, left[r]);
#pragma GCC unroll 4
      for (int c = 0; c < Columns; ++c) {
        if constexpr (Diagonal) {
          right = left[c];
        } else {
          load_point<kProducts>(y[c].values + p, right);
        }
#pragma GCC unroll 4
        for (int r = Diagonal ? c : 0; r < Rows; ++r) {
          if constexpr (kProducts == Products::exact) {
            add_product<double, Width>(left[r], right, sums[r][c]);
          } else {
            sums[r][c] += left[r] * right;
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < (Diagonal ? r + 1 : Columns); ++c) store_pack(sums[r][c], at[r] + c * kLanes + lane);
  }
}

// The pairs of `Rows` points from `row` on, with themselves and all before them.
template <int Width, int Rows, Products kProducts>
M2M_INLINE void add_rows(const PointBlock<double>* points, int row, int count, double* lanes) {
  double* at[Rows];
  for (int r = 0; r < Rows; ++r) at[r] = lanes + pair_index(row + r, 0) * kLanes;
  for (int column = 0; column < row; column += kTile<Width>) {
    add_tile<Width, Rows, kTile<Width>, false, kProducts>(points + row, points + column, count, at);
    for (double*& each : at) each += kTile<Width> * kLanes;
  }
  add_tile<Width, Rows, Rows, true, kProducts>(points + row, points + row, count, at);
}

// As many whole tiles as there are, the rest in a smaller one.
template <int Width, int Rows, Products kProducts>
M2M_INLINE void add_last_rows(const PointBlock<double>* points, int row, int n_points, int count, double* lanes) {
  if (n_points - row == Rows) return add_rows<Width, Rows, kProducts>(points, row, count, lanes);
  if constexpr (Rows > 1) add_last_rows<Width, Rows - 1, kProducts>(points, row, n_points, count, lanes);
}

template <int Width, Products kProducts>
M2M_INLINE void add_all(const PointBlock<double>* points, int n_points, int count, double* lanes) {
  int row = 0;
  for (; row + kTile<Width> <= n_points; row += kTile<Width>)
    add_rows<Width, kTile<Width>, kProducts>(points, row, count, lanes);
  add_last_rows<Width, kTile<Width> - 1, kProducts>(points, row, n_points, count, lanes);
}

template <int Width>
M2M_INLINE void add_products_body(Products products, const PointBlock<double>* points, int n_points, int count, double* lanes) {
  constexpr Products kExact = Width > 2 ? Products::exact : Products::rounded;  // SSE2 has no instruction that fuses
  switch (products) {
    case Products::exact: return add_all<Width, kExact>(points, n_points, count, lanes);
    case Products::rounded: return add_all<Width, Products::rounded>(points, n_points, count, lanes);
    case Products::of_squares: return add_all<Width, Products::of_squares>(points, n_points, count, lanes);
  }
}

M2M_INLINE void add_columns_body(const PointBlock<double>* points, int n_points, int count, double* lanes,
                                 std::int64_t stride) {
  for (int i = 0; i < n_points; ++i) {
    for (int k = 0; k <= i; ++k, lanes += stride) {
      const double* __restrict x = points[i].values;
      const double* __restrict y = points[k].values;
      double* __restrict sums = lanes;
      for (int c = 0; c < count; ++c) sums[c] += x[c] * y[c];
    }
  }
}

}  // namespace

M2M_PACK_CLONES(add_products, (Products products, const PointBlock<double>* points, int n_points, int count, double* lanes),
                (products, points, n_points, count, lanes))

M2M_CLONES(void, add_columns, (const PointBlock<double>* points, int n_points, int count, double* lanes, std::int64_t stride),
           (points, n_points, count, lanes, stride))

}  // namespace m2m
