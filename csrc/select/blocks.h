// The selecting methods' arithmetic on one block of elements in memory. Each function is compiled once an instruction set.
// Task vectors are formed in the accumulation type `Real` (float, or double if an input is); everything after that is
// float64, product and sum rounded apart.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "select/rank.h"
#include "select/spec.h"

namespace m2m {

constexpr int kSelectBlock = 256;  // elements at a time: what all experts have of them stays in the first-level cache

// Bits of |x|, which order like the numbers.
template <class Real>
using KeyOf = std::conditional_t<std::is_same_v<Real, double>, std::uint64_t, std::uint32_t>;

// A selection's edge among the elements of one block or chunk: an element is inside if its key is larger than `key`, or equal
// and its index below `cut`.
struct LocalEdge {
  std::uint64_t key;
  std::int64_t cut;
};

// Bins that may hold something, bin 0 apart; none if low > high.
struct BinRange {
  std::int64_t low = INT64_MAX;
  std::int64_t high = -1;
  std::int64_t zeros = 0;  // keys that are zero; counted by a first digit only
};

// ---- task vectors; `start` is the block's place in the arrays ----

void widen_block(Dtype dtype, const void* input, std::int64_t start, int count, float* wide);
void widen_block(Dtype dtype, const void* input, std::int64_t start, int count, double* wide);

// vector = expert - base
void task_vector(Dtype dtype, const void* base, const void* expert, std::int64_t start, int count, float* vector);
void task_vector(Dtype dtype, const void* base, const void* expert, std::int64_t start, int count, double* vector);

// wide = value, |value| or value^2
void as_doubles(const float* values, int count, double* wide);
void as_doubles(const double* values, int count, double* wide);
void magnitudes(const float* values, int count, double* wide);
void magnitudes(const double* values, int count, double* wide);
void squares(const float* values, int count, double* wide);
void squares(const double* values, int count, double* wide);

// ---- keys ----

// Of the magnitudes of a task vector.
void magnitude_keys(Dtype dtype, const void* base, const void* expert, std::int64_t start, int count, std::uint32_t* keys);
void magnitude_keys(Dtype dtype, const void* base, const void* expert, std::int64_t start, int count, std::uint64_t* keys);

// Keys that order like the values, negative ones too; -0 counts as 0.
void signed_keys(const double* values, int count, std::uint64_t* keys);

// Counts all keys by what is above `shift`, into two sets of bins to be added up: equal neighbours need not wait their turn.
void count_all(const std::uint32_t* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range);
void count_all(const std::uint64_t* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range);

// Counts the keys with the digit's prefix, which are usually few, into the first set.
void count_some(const std::uint32_t* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range);
void count_some(const std::uint64_t* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range);

// found = the keys with the digit's prefix; returns how many. found: [kSelectBlock]
int find_some(const std::uint32_t* keys, int count, const RankDigit& digit, std::uint64_t* found);
int find_some(const std::uint64_t* keys, int count, const RankDigit& digit, std::uint64_t* found);

// Counts all keys by where they lie, and finds those between the bracket's ends: found = those, in
// any order; returns how many. found: [kSelectBlock]
int find_between(const std::uint32_t* keys, int count, const Bracket& bracket, BracketCounts& counts, std::uint64_t* found);
int find_between(const std::uint64_t* keys, int count, const Bracket& bracket, BracketCounts& counts, std::uint64_t* found);

// ---- trimming: what is dropped becomes zero ----

void keep_drawn(const std::uint32_t* words, std::uint32_t keep_below, int count, float* vector);
void keep_drawn(const std::uint32_t* words, std::uint32_t keep_below, int count, double* vector);

// Keep probabilities by rank in a row of `columns`.
void ranked_probabilities(const std::uint32_t* ranks, const ExpertSpec& spec, std::int64_t columns, int count,
                          double* probabilities);
void keep_ranked(const std::uint32_t* words, const double* probabilities, int count, float* vector);
void keep_ranked(const std::uint32_t* words, const double* probabilities, int count, double* vector);

// Keeps what is inside `outer` and not inside `inner`.
void keep_between(const LocalEdge& outer, const LocalEdge& inner, int count, float* vector);
void keep_between(const LocalEdge& outer, const LocalEdge& inner, int count, double* vector);

// mask = all bits where the key is inside, none elsewhere
void mask_inside(const std::uint64_t* keys, const LocalEdge& edge, int count, std::uint32_t* mask);
void mask_inside(const std::uint64_t* keys, const LocalEdge& edge, int count, std::uint64_t* mask);

// Keeps what the mask has bits for.
void keep_masked(const std::uint32_t* mask, int count, float* vector);
void keep_masked(const std::uint64_t* mask, int count, double* vector);

// values = 1 / value (1 where it is not positive)
void invert(int count, double* values);

// ---- writing ----

// chosen[i] = other[i] where the key is at least `least`
void choose(const std::uint64_t* keys, std::uint64_t least, const double* other, int count, double* chosen);

// out = round(values)
void store_block(const double* values, int count, Dtype output, void* out, std::int64_t start);

// out = round(base + factor x change / divisor)
void add_to_base(const float* base, const double* change, double divisor, double factor, int count, Dtype output, void* out,
                 std::int64_t start);
void add_to_base(const double* base, const double* change, double divisor, double factor, int count, Dtype output, void* out,
                 std::int64_t start);

}  // namespace m2m
