#include "gram/signs.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "core/arithmetic.h"
#include "core/isa.h"
#include "gram/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace m2m {
namespace {

constexpr int kWord = 64;
static_assert(kPadding % kWord == 0, "points are filled up to whole words");

// Signs of `kWidth` numbers at a time, put together to words.
template <class Real, int kWidth, Marks (*kMark)(const Real*)>
M2M_INLINE void mark_words(const Real* x, int words, Marks* marks) {
  for (; words > 0; --words, ++marks, x += kWord) {
    Marks word;
#pragma GCC unroll 16
    for (int p = 0; p < kWord; p += kWidth) {
      const Marks some = kMark(x + p);
      word.nonzero |= some.nonzero << p;
      word.negative |= some.negative << p;
    }
    *marks = word;
  }
}

template <class Real>
inline Marks mark_one(const Real* x) {
  return {*x != 0, *x < 0};
}

#if defined(__x86_64__)
M2M_AVX2 inline Marks mark_avx2(const float* x) {
  const __m256 values = _mm256_loadu_ps(x), zero = _mm256_setzero_ps();
  return {std::uint64_t(_mm256_movemask_ps(_mm256_cmp_ps(values, zero, _CMP_NEQ_UQ))),
          std::uint64_t(_mm256_movemask_ps(_mm256_cmp_ps(values, zero, _CMP_LT_OQ)))};
}
M2M_AVX2 inline Marks mark_avx2(const double* x) {
  const __m256d values = _mm256_loadu_pd(x), zero = _mm256_setzero_pd();
  return {std::uint64_t(_mm256_movemask_pd(_mm256_cmp_pd(values, zero, _CMP_NEQ_UQ))),
          std::uint64_t(_mm256_movemask_pd(_mm256_cmp_pd(values, zero, _CMP_LT_OQ)))};
}
template <class Real>
M2M_AVX2 void mark_signs_avx2(const Real* x, int words, Marks* marks) {
  mark_words<Real, 32 / sizeof(Real), mark_avx2>(x, words, marks);
}

M2M_AVX512 inline Marks mark_avx512(const float* x) {
  const __m512 values = _mm512_loadu_ps(x), zero = _mm512_setzero_ps();
  return {_mm512_cmp_ps_mask(values, zero, _CMP_NEQ_UQ), _mm512_cmp_ps_mask(values, zero, _CMP_LT_OQ)};
}
M2M_AVX512 inline Marks mark_avx512(const double* x) {
  const __m512d values = _mm512_loadu_pd(x), zero = _mm512_setzero_pd();
  return {_mm512_cmp_pd_mask(values, zero, _CMP_NEQ_UQ), _mm512_cmp_pd_mask(values, zero, _CMP_LT_OQ)};
}
template <class Real>
M2M_AVX512 void mark_signs_avx512(const Real* x, int words, Marks* marks) {
  mark_words<Real, 64 / sizeof(Real), mark_avx512>(x, words, marks);
}
#endif

template <class Real>
void mark_signs(const Real* x, int words, Marks* marks) {
#if defined(__x86_64__)
  if (isa_in_use() == Isa::avx512) return mark_signs_avx512(x, words, marks);
  if (isa_in_use() == Isa::avx2) return mark_signs_avx2(x, words, marks);
#endif
  mark_words<Real, 1, mark_one>(x, words, marks);
}

template <class Real>
using BitsOf = std::conditional_t<sizeof(Real) == 4, std::int32_t, std::int64_t>;

// The largest |x|: bits of magnitudes are ordered as their values are.
template <class Real>
M2M_INLINE Real largest_of_body(const Real* x, int count) {
  using Bits = BitsOf<Real>;
  Bits most = 0;
  for (int p = 0; p < count; ++p) most = std::max<Bits>(most, bit_cast<Bits>(x[p]) & std::numeric_limits<Bits>::max());
  return bit_cast<Real>(most);
}

M2M_CLONES(float, largest_of, (const float* x, int count), (x, count))
M2M_CLONES(double, largest_of, (const double* x, int count), (x, count))

M2M_INLINE void count_pairs_body(const Marks* marks, int n_points, int words, std::int64_t* same, std::int64_t* opposite) {
  for (int i = 0; i < n_points; ++i) {
    for (int k = 0; k <= i; ++k, ++same, ++opposite) {
      std::int64_t nonzero = 0, differing = 0;
      for (int word = 0; word < words; ++word) {
        const Marks &left = marks[i * words + word], &right = marks[k * words + word];
        const std::uint64_t both = left.nonzero & right.nonzero;
        nonzero += __builtin_popcountll(both);
        differing += __builtin_popcountll(both & (left.negative ^ right.negative));
      }
      *same += nonzero - differing;
      *opposite += differing;
    }
  }
}

M2M_CLONES(void, count_pairs, (const Marks* marks, int n_points, int words, std::int64_t* same, std::int64_t* opposite),
           (marks, n_points, words, same, opposite))

}  // namespace

template <class Real>
void SignCounts::add(const PointBlock<Real>* points, int n_points, int count) {
  const int words = (count + kWord - 1) / kWord;
  marks_.resize(std::size_t(n_points) * words);
  for (int i = 0; i < n_points; ++i) {
    largest[i] = std::max<double>(largest[i], largest_of(points[i].values, count));
    mark_signs(points[i].values, words, marks_.data() + std::int64_t{i} * words);
  }
  count_pairs(marks_.data(), n_points, words, same.data(), opposite.data());
}

template void SignCounts::add(const PointBlock<float>*, int, int);
template void SignCounts::add(const PointBlock<double>*, int, int);

void SignCounts::add(const SignCounts& other) {
  for (std::size_t i = 0; i < largest.size(); ++i) largest[i] = std::max(largest[i], other.largest[i]);
  for (std::size_t pair = 0; pair < same.size(); ++pair) {
    same[pair] += other.same[pair];
    opposite[pair] += other.opposite[pair];
  }
}

}  // namespace m2m
