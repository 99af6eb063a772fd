#include "core/ordered_sum.h"

#include "core/isa.h"

namespace m2m {
namespace {

M2M_INLINE void add_to_lanes_body(Lanes& lanes, const double* terms, std::int64_t first, int count) {
  int i = 0;
  for (; i < count && (first + i) % kLanes; ++i) lanes.sums[(first + i) % kLanes] += terms[i];
  double sums[kLanes];
  for (int j = 0; j < kLanes; ++j) sums[j] = lanes.sums[j];
  for (; i + kLanes <= count; i += kLanes)
    for (int j = 0; j < kLanes; ++j) sums[j] += terms[i + j];
  for (int j = 0; j < kLanes; ++j) lanes.sums[j] = sums[j];
  for (; i < count; ++i) lanes.sums[(first + i) % kLanes] += terms[i];
}

}  // namespace

M2M_CLONES(void, add_to_lanes, (Lanes& lanes, const double* terms, std::int64_t first, int count), (lanes, terms, first, count))

double Lanes::folded() const {
  double rest[kLanes];
  std::copy_n(sums, kLanes, rest);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) rest[j] += rest[j + half];
  return rest[0];
}

}  // namespace m2m
