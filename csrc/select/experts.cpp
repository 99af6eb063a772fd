#include "select/experts.h"

#include "core/pack.h"

namespace m2m {
namespace {

// A vector's elements from `at` on, as doubles.
template <int kWidth, class Real>
M2M_INLINE void widen_pack(const Real* vector, Pack<double, kWidth>& wide) {
  Pack<Real, kWidth> narrow;
  load_pack(vector, narrow);
  wide = __builtin_convertvector(narrow, Pack<double, kWidth>);
}

template <int kWidth, class Real>
M2M_INLINE void element_pack(const ExpertBlock<Real>& expert, int at, Pack<double, kWidth>& elements) {
  Pack<double, kWidth> wide;
  widen_pack<kWidth>(expert.vector + at, wide);
  if (expert.scales == nullptr) {
    elements = expert.factor * wide;
  } else {
    Pack<double, kWidth> scales;
    load_pack(expert.scales + at, scales);
    elements = expert.factor * scales * wide;
  }
}

template <int kWidth, class Real>
M2M_INLINE void sum_pack(const ExpertBlock<Real>* experts, int n_experts, int at, Pack<double, kWidth>& sum) {
  sum = Pack<double, kWidth>{};
  for (int n = 0; n < n_experts; ++n) {
    Pack<double, kWidth> elements;
    element_pack<kWidth>(experts[n], at, elements);
    sum += elements;
  }
}

template <int kWidth, class Real>
M2M_INLINE void add_up_body(const ExpertBlock<Real>* experts, int n_experts, int count, double* sums) {
  for (int at = 0; at < count; at += kWidth) {
    Pack<double, kWidth> sum;
    sum_pack<kWidth>(experts, n_experts, at, sum);
    store_pack(sum, sums + at);
  }
}

// -1, 0 or 1; NaN counts as 0.
template <class APack>
M2M_INLINE void sign_pack(const APack& x, APack& signs) {
  const APack zero{}, one = zero + 1.0;
  signs = x > zero ? one : x < zero ? -one : zero;
}

template <int kWidth, class Real, bool kZerosVote>
M2M_INLINE void elect_packs(const ExpertBlock<Real>* experts, int n_experts, const Election& election, int count,
                            double* sums) {
  using Wide = Pack<double, kWidth>;
  const Wide zero{}, one = zero + 1.0;
  for (int at = 0; at < count; at += kWidth) {
    Wide sum, elected, total{}, agreeing{};
    sum_pack<kWidth>(experts, n_experts, at, sum);
    if (election.tie_is_plus) {
      elected = sum >= zero ? one : -one;
    } else {
      sign_pack(sum, elected);
    }
    for (int n = 0; n < n_experts; ++n) {
      Wide elements, signs;
      element_pack<kWidth>(experts[n], at, elements);
      if constexpr (kZerosVote) sign_pack(elements, signs);
      // Multiplying by a sign is exact.
      const auto agrees = kZerosVote ? signs == elected : elements * elected > zero;
      total += agrees ? experts[n].gain * elements : zero;
      agreeing += agrees ? zero + experts[n].weight : zero;
    }
    if (election.normalise) total /= agreeing == zero ? one : agreeing;
    store_pack(total, sums + at);
  }
}

template <int kWidth, class Real>
M2M_INLINE void elect_body(const ExpertBlock<Real>* experts, int n_experts, const Election& election, int count, double* sums) {
  if (election.zeros_vote) {
    elect_packs<kWidth, Real, true>(experts, n_experts, election, count, sums);
  } else {
    elect_packs<kWidth, Real, false>(experts, n_experts, election, count, sums);
  }
}

// A power of two divides as its inverse multiplies, to the bit, and the multiplication is several times faster.
template <int kWidth>
M2M_INLINE void divide_by_count(int n, Pack<double, kWidth>& sums) {
  if ((n & (n - 1)) == 0) {
    sums *= 1.0 / n;
  } else {
    sums /= static_cast<double>(n);
  }
}

template <int kWidth, class Real>
M2M_INLINE void variance_keys_body(const Real* vectors, int n_experts, int count, std::uint64_t* keys) {
  constexpr std::uint64_t magnitude = ~std::uint64_t{0} >> 1;
  for (int at = 0; at < count; at += kWidth) {
    Pack<double, kWidth> mean{}, variance{}, wide;
    for (int n = 0; n < n_experts; ++n) {
      widen_pack<kWidth>(vectors + n * kSelectBlock + at, wide);
      mean += wide;
    }
    divide_by_count<kWidth>(n_experts, mean);
    for (int n = 0; n < n_experts; ++n) {
      widen_pack<kWidth>(vectors + n * kSelectBlock + at, wide);
      const Pack<double, kWidth> distance = wide - mean;
      variance += distance * distance;
    }
    divide_by_count<kWidth>(n_experts, variance);
    Pack<std::uint64_t, kWidth> bits;
    load_pack(&variance, bits);
    store_pack(Pack<std::uint64_t, kWidth>(bits & magnitude), keys + at);
  }
}

}  // namespace

M2M_PACK_CLONES(add_up, (const ExpertBlock<float>* experts, int n_experts, int count, double* sums),
                (experts, n_experts, count, sums))
M2M_PACK_CLONES(add_up, (const ExpertBlock<double>* experts, int n_experts, int count, double* sums),
                (experts, n_experts, count, sums))
M2M_PACK_CLONES(elect, (const ExpertBlock<float>* experts, int n_experts, const Election& election, int count, double* sums),
                (experts, n_experts, election, count, sums))
M2M_PACK_CLONES(elect, (const ExpertBlock<double>* experts, int n_experts, const Election& election, int count, double* sums),
                (experts, n_experts, election, count, sums))
M2M_PACK_CLONES(variance_keys, (const float* vectors, int n_experts, int count, std::uint64_t* keys),
                (vectors, n_experts, count, keys))
M2M_PACK_CLONES(variance_keys, (const double* vectors, int n_experts, int count, std::uint64_t* keys),
                (vectors, n_experts, count, keys))

}  // namespace m2m
