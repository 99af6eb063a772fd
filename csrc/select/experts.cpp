#include "select/experts.h"

#include <type_traits>

#include "core/pack.h"

namespace m2m {
namespace {

constexpr int kFewExperts = 4;    // loops over so many are unrolled: their elements stay in registers
constexpr int kKeptExperts = 16;  // of as many experts elements are kept between the two times that they are needed

// Calls `visit` with the number of experts, which the compiler knows if they are few.
template <class Visit>
M2M_INLINE void with_experts(int n_experts, Visit&& visit) {
  switch (n_experts) {
    case 2: return visit(std::integral_constant<int, 2>{});
    case 3: return visit(std::integral_constant<int, 3>{});
    case kFewExperts: return visit(std::integral_constant<int, kFewExperts>{});
    default: return visit(n_experts);
  }
}

// A vector's elements from `at` on, as doubles. Element by element: __builtin_convertvector takes halves.
template <class Wide, class Real>
M2M_INLINE void widen_pack(const Real* vector, Wide& wide) {
  for (std::size_t i = 0; i < sizeof(Wide) / sizeof(double); ++i) wide[i] = vector[i];
}

template <class Wide, class Real>
M2M_INLINE void element_pack(const ExpertBlock<Real>& expert, int at, Wide& elements) {
  Wide wide;
  widen_pack(expert.vector + at, wide);
  if (expert.scales == nullptr) {
    elements = expert.factor * wide;
  } else {
    Wide scales;
    load_pack(expert.scales + at, scales);
    elements = expert.factor * scales * wide;
  }
}

template <int kWidth, class Real>
M2M_INLINE void add_up_body(const ExpertBlock<Real>* experts, int n_experts, int count, double* sums) {
  with_experts(n_experts, [&](auto n_known) __attribute__((always_inline)) {
    for (int at = 0; at < count; at += kWidth) {
      Pack<double, kWidth> sum{}, elements;
      for (int n = 0; n < n_known; ++n) {
        element_pack(experts[n], at, elements);
        sum += elements;
      }
      store_pack(sum, sums + at);
    }
  });
}

// -1, 0 or 1; NaN counts as 0.
template <class APack>
M2M_INLINE void sign_pack(const APack& x, APack& signs) {
  const APack zero{}, one = zero + 1.0;
  signs = x > zero ? one : x < zero ? -one : zero;
}

template <bool kZerosVote, class Wide, class Real, class Count>
M2M_INLINE void elect_pack(const ExpertBlock<Real>* experts, Count n_experts, const Election& election, int at, Wide& total) {
  const Wide zero{}, one = zero + 1.0;
  Wide kept[kKeptExperts], elements, sum{}, elected, signs, agreeing{};
  for (int n = 0; n < n_experts; ++n) {
    element_pack(experts[n], at, elements);
    if (n < kKeptExperts) kept[n] = elements;
    sum += elements;
  }
  if (election.tie_is_plus) {
    elected = sum >= zero ? one : -one;
  } else {
    sign_pack(sum, elected);
  }
  total = zero;
  for (int n = 0; n < n_experts; ++n) {
    if (n < kKeptExperts) {
      elements = kept[n];
    } else {
      element_pack(experts[n], at, elements);
    }
    if constexpr (kZerosVote) sign_pack(elements, signs);
    // Multiplying by a sign is exact.
    const auto agrees = kZerosVote ? signs == elected : elements * elected > zero;
    total += agrees ? experts[n].gain * elements : zero;
    agreeing += agrees ? experts[n].weight - zero : zero;
  }
  if (election.normalise) total /= agreeing == zero ? one : agreeing;
}

template <int kWidth, class Real>
M2M_INLINE void elect_body(const ExpertBlock<Real>* experts, int n_experts, const Election& election, int count, double* sums) {
  with_experts(n_experts, [&](auto n_known) __attribute__((always_inline)) {
    Pack<double, kWidth> total;
    for (int at = 0; at < count; at += kWidth) {
      if (election.zeros_vote) {
        elect_pack<true>(experts, n_known, election, at, total);
      } else {
        elect_pack<false>(experts, n_known, election, at, total);
      }
      store_pack(total, sums + at);
    }
  });
}

// A power of two divides as its inverse multiplies, to the bit, and the multiplication is several times faster.
template <class Wide>
M2M_INLINE void divide_by_count(int n, Wide& sums) {
  if ((n & (n - 1)) == 0) {
    sums *= 1.0 / n;
  } else {
    sums /= static_cast<double>(n);
  }
}

template <int kWidth, class Real>
M2M_INLINE void variance_keys_body(const Real* vectors, int n_experts, int count, std::uint64_t* keys) {
  constexpr std::uint64_t magnitude = ~std::uint64_t{0} >> 1;
  with_experts(n_experts, [&](auto n_known) __attribute__((always_inline)) {
    for (int at = 0; at < count; at += kWidth) {
      Pack<double, kWidth> kept[kKeptExperts], mean{}, variance{}, wide;
      for (int n = 0; n < n_known; ++n) {
        widen_pack(vectors + n * kSelectBlock + at, wide);
        if (n < kKeptExperts) kept[n] = wide;
        mean += wide;
      }
      divide_by_count(n_known, mean);
      for (int n = 0; n < n_known; ++n) {
        if (n < kKeptExperts) {
          wide = kept[n];
        } else {
          widen_pack(vectors + n * kSelectBlock + at, wide);
        }
        const Pack<double, kWidth> distance = wide - mean;
        variance += distance * distance;
      }
      divide_by_count(n_known, variance);
      Pack<std::uint64_t, kWidth> bits;
      load_pack(&variance, bits);
      store_pack(Pack<std::uint64_t, kWidth>(bits & magnitude), keys + at);
    }
  });
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
