// The selecting methods' arithmetic over all experts of one block: variances, sums and elections. It computes whole packs:
// every array is kSelectBlock long, and what lies beyond `count` means nothing.
#pragma once

#include <cstdint>

#include "select/blocks.h"

namespace m2m {

// A trimmed task vector and what it counts for. Its elements are factor x scale x vector.
template <class Real>
struct ExpertBlock {
  const Real* vector;    // [kSelectBlock]
  const double* scales;  // [kSelectBlock], or null where all are one
  double factor;
  double gain;    // of what is added where it agrees with the elected sign
  double weight;  // of the divisor
};

struct Election {
  bool tie_is_plus;  // where the sum is zero + is elected, else nothing is
  bool zeros_vote;   // where nothing is elected, zeros and NaN agree; it shows only in NaN and in the sign of a zero
  bool normalise;    // divide by the sum of the weights of those that agree, where it is not zero
};

// sums = the experts' elements, added up from +0
void add_up(const ExpertBlock<float>* experts, int n_experts, int count, double* sums);
void add_up(const ExpertBlock<double>* experts, int n_experts, int count, double* sums);

// Elects the sign of the sum, and adds gain x element of the experts that agree with it.
void elect(const ExpertBlock<float>* experts, int n_experts, const Election& election, int count, double* sums);
void elect(const ExpertBlock<double>* experts, int n_experts, const Election& election, int count, double* sums);

// Bits of the mean square of the distance to the mean. vectors: [N, kSelectBlock]
void variance_keys(const float* vectors, int n_experts, int count, std::uint64_t* keys);
void variance_keys(const double* vectors, int n_experts, int count, std::uint64_t* keys);

}  // namespace m2m
