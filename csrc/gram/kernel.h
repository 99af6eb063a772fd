// The arithmetic of ordered inner products, for all pairs of points at once.
#pragma once

#include <cstdint>

namespace m2m {

constexpr int kGramBlock = 512;  // elements staged at a time; a multiple of the lanes

// lanes[pair][j] += points[i][p] * points[k][p] for every pair i >= k and p = j mod 16, ascending; product and sum are rounded
// apart. `count` is a multiple of 16. Unless `squares` is null, the products' squares are added to it in the same way.
void add_products(const double* const* points, int n_points, int count, double* lanes, double* squares);

// The same for vectors that lie side by side: lanes[pair][c] += points[i][c] * points[k][c] with a distance of `stride` between
// the lanes of two pairs.
void add_columns(const double* const* points, int n_points, int count, double* lanes, std::int64_t stride);

}  // namespace m2m
