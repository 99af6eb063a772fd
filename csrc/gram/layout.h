// How a tensor falls into vectors, and which of its inputs are the points whose inner products are wanted.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "core/ordered_sum.h"

namespace m2m {

struct GramTensor {
  int origin = -1;      // points are fl(input - input[origin]); -1: the inputs themselves
  int first_point = 0;  // the points are the inputs [first_point, first_point + n_points)
  int n_points = 0;     // 0: nothing is wanted of this tensor
  // Elements in one vector, and how far apart they lie: 1, or the number of vectors where vectors are columns.
  std::int64_t length = 0;
  std::int64_t stride = 1;
  bool ulps = false;          // points are not the inputs but how far their values lie from the next number
  Dtype stored = Dtype::f32;  // ... of this type, in which they are stored

  int pairs() const { return n_points * (n_points + 1) / 2; }
  bool columns() const { return stride > 1; }
  std::int64_t segments() const { return std::max<std::int64_t>(1, (length + kSegment - 1) / kSegment); }
  std::int64_t vectors(std::int64_t count) const { return columns() ? stride : length ? count / length : 1; }
};

// Position of the product of points i >= j in a lower triangle.
inline int pair_index(int i, int j) { return i * (i + 1) / 2 + j; }

// Sums of all pairs for every segment of every vector, waiting to be added in order.
class SegmentSums {
 public:
  SegmentSums(const GramTensor& tensor, std::int64_t count)
      : pairs_(tensor.pairs()),
        segments_(tensor.segments()),
        sums_(tensor.vectors(count) * tensor.segments() * tensor.pairs()) {}

  double* at(std::int64_t vector, std::int64_t segment) { return sums_.data() + (vector * segments_ + segment) * pairs_; }

  // Lower triangles, one a vector. [V, K(K+1)/2]
  std::vector<double> triangles() const {
    const std::int64_t vectors = pairs_ ? static_cast<std::int64_t>(sums_.size()) / (segments_ * pairs_) : 0;
    std::vector<double> totals(vectors * pairs_, 0.0);
    for (std::int64_t v = 0; v < vectors; ++v)
      for (std::int64_t s = 0; s < segments_; ++s)
        for (int pair = 0; pair < pairs_; ++pair) totals[v * pairs_ + pair] += sums_[(v * segments_ + s) * pairs_ + pair];
    return totals;
  }

 private:
  int pairs_;
  std::int64_t segments_;
  std::vector<double> sums_;
};

}  // namespace m2m
