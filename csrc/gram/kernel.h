// The arithmetic of ordered inner products, for all pairs of points at once.
#pragma once

#include <cstdint>

namespace m2m {

constexpr int kGramBlock = 256;  // elements staged at a time; a multiple of the lanes
constexpr int kPadding = 64;     // ... up to a multiple of this many with zeros

// Elements of one point, aligned as the widest registers are.
template <class Real>
struct alignas(64) PointBlock {
  Real values[kGramBlock];
};

// Which products are summed.
enum class Products {
  exact,    // of points whose products need no rounding, as those of float32 values: fused into the sum, which changes no bit
  rounded,  // of any points; product and sum are rounded apart
  of_squares,  // of the points' squares; square, product and sum are rounded apart
};

// lanes[pair][j] += points[i][p] * points[k][p] for every pair i >= k and p = j mod 16, ascending. `count` is a multiple of 16.
void add_products(Products products, const PointBlock<double>* points, int n_points, int count, double* lanes);

// The same for vectors that lie side by side: lanes[pair][c] += points[i][c] * points[k][c] with a distance of `stride` between
// the lanes of two pairs.
void add_columns(const PointBlock<double>* points, int n_points, int count, double* lanes, std::int64_t stride);

}  // namespace m2m
