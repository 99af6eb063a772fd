// Signs and largest values of points.
#pragma once

#include <cstdint>
#include <vector>

#include "gram/layout.h"

namespace m2m {

// What statistics know of the points of one tensor besides their inner products. Pairs as in a lower triangle.
struct SignCounts {
  std::vector<double> largest;         // [K] largest |value|
  std::vector<std::int64_t> same;      // [pairs] elements where both are positive or both negative
  std::vector<std::int64_t> opposite;  // [pairs] elements where one is positive and one negative

  explicit SignCounts(const GramTensor& tensor) : largest(tensor.n_points), same(tensor.pairs()), opposite(tensor.pairs()) {}
  // `count` is at most kGramBlock, and a multiple of 16.
  void add(const double* const* points, int n_points, int count);
  void add(const SignCounts& other);

 private:
  std::vector<std::uint64_t> masks_;  // [2, K, kGramBlock / 64] which elements are positive, which negative
};

}  // namespace m2m
