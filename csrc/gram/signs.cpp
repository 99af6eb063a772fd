#include "gram/signs.h"

#include <algorithm>

#include "core/arithmetic.h"
#include "core/isa.h"
#include "core/pack.h"
#include "gram/kernel.h"

namespace m2m {
namespace {

constexpr int kWord = 64;
constexpr int kWords = kGramBlock / kWord;

// The compiler splits these where registers are narrower.
constexpr int kWidth = 8;
using Values = Pack<double, kWidth>;
using Bits = Pack<std::int64_t, kWidth>;

M2M_INLINE std::uint64_t any_of(const Bits& lanes) {
  std::int64_t all = 0;
  for (int lane = 0; lane < kWidth; ++lane) all |= lanes[lane];
  return static_cast<std::uint64_t>(all);
}

// One bit an element of a multiple of 8; returns the largest |x|, whose bits are ordered as its values are.
M2M_INLINE double mark_signs_body(const double* x, int count, std::uint64_t* positive, std::uint64_t* negative) {
  Bits most = {};
  for (int first = 0, word = 0; first < count; first += kWord, ++word) {
    Bits place = {1, 2, 4, 8, 16, 32, 64, 128}, above = {}, below = {};
    for (int p = first; p < std::min(count, first + kWord); p += kWidth, place <<= kWidth) {
      Values values;
      Bits magnitude;
      load_pack(x + p, values);
      load_pack(x + p, magnitude);
      magnitude &= 0x7fffffffffffffff;
      most = magnitude > most ? magnitude : most;
      above |= (values > 0.0) & place;
      below |= (values < 0.0) & place;
    }
    positive[word] = any_of(above);
    negative[word] = any_of(below);
  }
  std::int64_t largest = 0;
  for (int lane = 0; lane < kWidth; ++lane) largest = std::max<std::int64_t>(largest, most[lane]);
  return bit_cast<double>(largest);
}

M2M_CLONES(double, mark_signs, (const double* x, int count, std::uint64_t* positive, std::uint64_t* negative),
           (x, count, positive, negative))

M2M_INLINE void count_pairs_body(const std::uint64_t* positive, const std::uint64_t* negative, int n_points, std::int64_t* same,
                                 std::int64_t* opposite) {
  for (int i = 0, pair = 0; i < n_points; ++i) {
    for (int k = 0; k <= i; ++k, ++pair) {
      for (int word = 0; word < kWords; ++word) {
        const std::uint64_t up = positive[i * kWords + word], down = negative[i * kWords + word];
        const std::uint64_t other_up = positive[k * kWords + word], other_down = negative[k * kWords + word];
        same[pair] += __builtin_popcountll((up & other_up) | (down & other_down));
        opposite[pair] += __builtin_popcountll((up & other_down) | (down & other_up));
      }
    }
  }
}

M2M_CLONES(void, count_pairs,
           (const std::uint64_t* positive, const std::uint64_t* negative, int n_points, std::int64_t* same,
            std::int64_t* opposite),
           (positive, negative, n_points, same, opposite))

}  // namespace

void SignCounts::add(const double* const* points, int n_points, int count) {
  masks_.assign(std::size_t{2} * n_points * kWords, 0);
  std::uint64_t* positive = masks_.data();
  std::uint64_t* negative = positive + std::int64_t{n_points} * kWords;
  for (int i = 0; i < n_points; ++i)
    largest[i] = std::max(largest[i], mark_signs(points[i], count, positive + i * kWords, negative + i * kWords));
  count_pairs(positive, negative, n_points, same.data(), opposite.data());
}

void SignCounts::add(const SignCounts& other) {
  for (std::size_t i = 0; i < largest.size(); ++i) largest[i] = std::max(largest[i], other.largest[i]);
  for (std::size_t pair = 0; pair < same.size(); ++pair) {
    same[pair] += other.same[pair];
    opposite[pair] += other.opposite[pair];
  }
}

}  // namespace m2m
