#include "core/philox.h"

#include "core/isa.h"

#if defined(__x86_64__)
// GCC 12 warns of its own header (bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace m2m {
namespace {

constexpr std::uint32_t kMultipliers[] = {0xd2511f53u, 0xcd9e8d57u};
constexpr std::uint32_t kWeyl[] = {0x9e3779b9u, 0xbb67ae85u};
constexpr int kRounds = 10;
constexpr int kBlockWords = 4 * kPhiloxLanes;

// Words of blocks [first, first + kPhiloxLanes): words[4 * j + w] is word w of block first + j.
void philox_blocks(PhiloxKey key, std::uint64_t first, std::uint32_t* words) {
  for (int j = 0; j < kPhiloxLanes; ++j, ++first, words += 4) {
    std::uint32_t a = static_cast<std::uint32_t>(first), b = static_cast<std::uint32_t>(first >> 32), c = 0, d = 0;
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      const std::uint64_t left = std::uint64_t{a} * kMultipliers[0], right = std::uint64_t{c} * kMultipliers[1];
      a = static_cast<std::uint32_t>(right >> 32) ^ b ^ (key.low + round * kWeyl[0]);
      b = static_cast<std::uint32_t>(right);
      c = static_cast<std::uint32_t>(left >> 32) ^ d ^ (key.high + round * kWeyl[1]);
      d = static_cast<std::uint32_t>(left);
    }
    words[0] = a;
    words[1] = b;
    words[2] = c;
    words[3] = d;
  }
}

#if defined(__x86_64__)
// The same, four blocks a vector: a lane of 64 bits holds one word, and above it bits that the multiplication ignores.
M2M_AVX2 void philox_blocks_avx2(PhiloxKey key, std::uint64_t first, std::uint32_t* words) {
  constexpr int vectors = kPhiloxLanes / 4;
  const __m256i low_half = _mm256_set1_epi64x(0xffffffff);
  const __m256i multipliers[] = {_mm256_set1_epi64x(kMultipliers[0]), _mm256_set1_epi64x(kMultipliers[1])};
  __m256i a[vectors], b[vectors], c[vectors], d[vectors];
  for (int v = 0; v < vectors; ++v) {
    // In this order the blocks end up in theirs when the words are interleaved.
    a[v] = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(first + 4 * v)), _mm256_set_epi64x(3, 1, 2, 0));
    b[v] = _mm256_srli_epi64(a[v], 32);
    c[v] = d[v] = _mm256_setzero_si256();
  }
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const __m256i low = _mm256_set1_epi64x(key.low + round * kWeyl[0]);
    const __m256i high = _mm256_set1_epi64x(key.high + round * kWeyl[1]);
    for (int v = 0; v < vectors; ++v) {
      const __m256i left = _mm256_mul_epu32(a[v], multipliers[0]), right = _mm256_mul_epu32(c[v], multipliers[1]);
      a[v] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(right, 32), b[v]), low);
      b[v] = right;
      c[v] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(left, 32), d[v]), high);
      d[v] = left;
    }
  }
  for (int v = 0; v < vectors; ++v) {
    const __m256i ab = _mm256_or_si256(_mm256_and_si256(a[v], low_half), _mm256_slli_epi64(b[v], 32));
    const __m256i cd = _mm256_or_si256(_mm256_and_si256(c[v], low_half), _mm256_slli_epi64(d[v], 32));
    auto* to = reinterpret_cast<__m256i*>(words + 16 * v);
    _mm256_storeu_si256(to, _mm256_unpacklo_epi64(ab, cd));
    _mm256_storeu_si256(to + 1, _mm256_unpackhi_epi64(ab, cd));
  }
}

// The same, eight blocks a vector.
M2M_AVX512 void philox_blocks_avx512(PhiloxKey key, std::uint64_t first, std::uint32_t* words) {
  constexpr int vectors = kPhiloxLanes / 8, xor_of_three = 0x96, low_or_high = 0xca;
  const __m512i low_half = _mm512_set1_epi64(0xffffffff);
  const __m512i multipliers[] = {_mm512_set1_epi64(kMultipliers[0]), _mm512_set1_epi64(kMultipliers[1])};
  __m512i a[vectors], b[vectors], c[vectors], d[vectors];
  for (int v = 0; v < vectors; ++v) {
    a[v] = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(first + 8 * v)), _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0));
    b[v] = _mm512_srli_epi64(a[v], 32);
    c[v] = d[v] = _mm512_setzero_si512();
  }
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const __m512i low = _mm512_set1_epi64(key.low + round * kWeyl[0]);
    const __m512i high = _mm512_set1_epi64(key.high + round * kWeyl[1]);
    for (int v = 0; v < vectors; ++v) {
      const __m512i left = _mm512_mul_epu32(a[v], multipliers[0]), right = _mm512_mul_epu32(c[v], multipliers[1]);
      a[v] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(right, 32), b[v], low, xor_of_three);
      b[v] = right;
      c[v] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(left, 32), d[v], high, xor_of_three);
      d[v] = left;
    }
  }
  for (int v = 0; v < vectors; ++v) {
    const __m512i ab = _mm512_ternarylogic_epi64(low_half, a[v], _mm512_slli_epi64(b[v], 32), low_or_high);
    const __m512i cd = _mm512_ternarylogic_epi64(low_half, c[v], _mm512_slli_epi64(d[v], 32), low_or_high);
    _mm512_storeu_si512(words + 32 * v, _mm512_unpacklo_epi64(ab, cd));
    _mm512_storeu_si512(words + 32 * v + 16, _mm512_unpackhi_epi64(ab, cd));
  }
}
#endif

}  // namespace

const std::uint32_t* draw_words(PhiloxKey key, std::int64_t first, int count, std::uint32_t* room) {
  auto blocks = philox_blocks;
#if defined(__x86_64__)
  if (isa_in_use() == Isa::avx2) blocks = philox_blocks_avx2;
  if (isa_in_use() == Isa::avx512) blocks = philox_blocks_avx512;
#endif
  const int skipped = static_cast<int>(first % 4);
  for (int done = 0; done < skipped + count; done += kBlockWords)
    blocks(key, static_cast<std::uint64_t>((first + done) / 4), room + done);
  return room + skipped;
}

}  // namespace m2m
