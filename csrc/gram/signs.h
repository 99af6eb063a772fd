// Signs and largest values of points.
#pragma once

#include <cstdint>
#include <vector>

#include "gram/kernel.h"
#include "gram/layout.h"

namespace m2m {

// Which of 64 elements are not zero, and which are negative: element p is bit p.
struct Marks {
  std::uint64_t nonzero = 0;
  std::uint64_t negative = 0;
};

// What statistics know of the points of one tensor besides their inner products. Pairs as in a lower triangle.
struct SignCounts {
  std::vector<double> largest;         // [K] largest |value|
  std::vector<std::int64_t> same;      // [pairs] elements where both are positive or both negative
  std::vector<std::int64_t> opposite;  // [pairs] elements where one is positive and one negative

  explicit SignCounts(const GramTensor& tensor) : largest(tensor.n_points), same(tensor.pairs()), opposite(tensor.pairs()) {}
  // The first `count` elements of every point, at most kGramBlock; up to whole words of 64 they are filled with zeros.
  template <class Real>
  void add(const PointBlock<Real>* points, int n_points, int count);
  void add(const SignCounts& other);

 private:
  std::vector<Marks> marks_;  // [K, words of the last block]
};

}  // namespace m2m
