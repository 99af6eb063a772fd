#include "select/blocks.h"

#include <algorithm>
#include <cmath>

#include "core/arithmetic.h"
#include "core/isa.h"

namespace m2m {
namespace {

// ---- task vectors ----

template <class Real>
M2M_INLINE void widen_block_body(Dtype dtype, const void* input, std::int64_t start, int count, Real* __restrict wide) {
  dispatch(dtype, [&](auto tag) __attribute__((always_inline)) {
    using In = typename decltype(tag)::type;
    if constexpr (std::is_same_v<Accumulation<In>, Real>) {
      const In* from = static_cast<const In*>(input) + start;
      for (int i = 0; i < count; ++i) wide[i] = load(from[i]);
    }
  });
}

// Calls `visit(i, element i of the task vector)` for the block.
template <class Real, class Visit>
M2M_INLINE void for_task_vector(Dtype dtype, const void* base, const void* expert, std::int64_t start, int count,
                                Visit&& visit) {
  dispatch(dtype, [&](auto tag) __attribute__((always_inline)) {
    using In = typename decltype(tag)::type;
    if constexpr (std::is_same_v<Accumulation<In>, Real>) {
      const In *from = static_cast<const In*>(base) + start, *to = static_cast<const In*>(expert) + start;
      for (int i = 0; i < count; ++i) visit(i, load(to[i]) - load(from[i]));
    }
  });
}

template <class Real>
M2M_INLINE void task_vector_body(Dtype dtype, const void* base, const void* expert, std::int64_t start, int count,
                                 Real* __restrict vector) {
  for_task_vector<Real>(dtype, base, expert, start, count,
                        [&](int i, Real element) __attribute__((always_inline)) { vector[i] = element; });
}

template <class Real>
M2M_INLINE void as_doubles_body(const Real* values, int count, double* __restrict wide) {
  for (int i = 0; i < count; ++i) wide[i] = values[i];
}

template <class Real>
M2M_INLINE void magnitudes_body(const Real* values, int count, double* __restrict wide) {
  for (int i = 0; i < count; ++i) wide[i] = std::fabs(double{values[i]});
}

template <class Real>
M2M_INLINE void squares_body(const Real* values, int count, double* __restrict wide) {
  for (int i = 0; i < count; ++i) wide[i] = double{values[i]} * double{values[i]};
}

// ---- keys ----

template <class Real>
M2M_INLINE KeyOf<Real> key_of(Real x) {
  return bit_cast<KeyOf<Real>>(x) & static_cast<KeyOf<Real>>(~KeyOf<Real>{0} >> 1);
}

template <class Key>
M2M_INLINE void magnitude_keys_body(Dtype dtype, const void* base, const void* expert, std::int64_t start, int count,
                                    Key* __restrict keys) {
  using Real = std::conditional_t<std::is_same_v<Key, std::uint64_t>, double, float>;
  for_task_vector<Real>(dtype, base, expert, start, count,
                        [&](int i, Real element) __attribute__((always_inline)) { keys[i] = key_of(element); });
}

template <class Key>
M2M_INLINE void count_all_body(const Key* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range) {
  std::uint32_t bins[kSelectBlock];
  std::uint32_t low = UINT32_MAX, high = 0, zeros = 0;
  for (int i = 0; i < count; ++i) {
    bins[i] = static_cast<std::uint32_t>(keys[i] >> digit.shift);
    low = std::min(low, bins[i] - 1);  // bin 0 becomes the largest number: it is far from the others, and no part of the range
    high = std::max(high, bins[i]);
    zeros += keys[i] == 0;
  }
  range.low = std::min(range.low, std::int64_t{low} + 1);
  range.high = std::max(range.high, std::int64_t{high});
  range.zeros += zeros;
  std::uint32_t* other = counts + digit.bins();
  int i = 0;
  for (; i + 1 < count; i += 2) {
    ++counts[bins[i]];
    ++other[bins[i + 1]];
  }
  if (i < count) ++counts[bins[i]];
}

// Visits the indices of all keys in [first, first + width), and of some others: they are sought 128 at a time, in 16 columns,
// and most columns hold none.
template <class Key, class Visit>
M2M_INLINE void for_columns_with(const Key* keys, int count, Key first, Key width, Visit&& visit) {
  constexpr int columns = 16, group = 8 * columns;
  int start = 0;
  for (; start + group <= count; start += group) {
    Key least[columns];
    std::fill_n(least, columns, static_cast<Key>(~Key{0}));
    for (int r = 0; r < group; r += columns)
      for (int j = 0; j < columns; ++j) least[j] = std::min(least[j], static_cast<Key>(keys[start + r + j] - first));
    for (int j = 0; j < columns; ++j) {
      if (least[j] >= width) continue;
      for (int r = 0; r < group; r += columns) visit(start + r + j);
    }
  }
  for (; start < count; ++start) visit(start);
}

// The smallest key of the prefix is counted by itself: in 16-bit checkpoints it is most of them.
template <class Key>
M2M_INLINE void count_some_body(const Key* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range) {
  const int above = digit.shift + digit.bits;
  const Key smallest = static_cast<Key>(digit.prefix << above), others = static_cast<Key>((Key{1} << above) - 1);
  std::uint32_t equal = 0;
  for (int i = 0; i < count; ++i) equal += keys[i] == smallest;
  counts[0] += equal;
  for_columns_with(keys, count, static_cast<Key>(smallest + 1), others, [&](int i) __attribute__((always_inline)) {
    const Key rest = keys[i] - smallest - 1;
    if (rest >= others) return;
    const auto bin = static_cast<std::int64_t>((rest + 1) >> digit.shift);
    ++counts[bin];
    range.low = std::min(range.low, bin);
    range.high = std::max(range.high, bin);
  });
}

template <class Key>
M2M_INLINE int find_some_body(const Key* keys, int count, const RankDigit& digit, std::uint64_t* __restrict found) {
  const Key prefix = static_cast<Key>(digit.prefix);
  int n = 0;
  for (int i = 0; i < count; ++i) {
    found[n] = keys[i];
    n += (keys[i] >> digit.shift) == prefix;
  }
  return n;
}

template <class Key>
M2M_INLINE int find_between_body(const Key* keys, int count, const Bracket& bracket, BracketCounts& counts,
                                 std::uint64_t* __restrict found) {
  const auto low = static_cast<Key>(bracket.low), high = static_cast<Key>(bracket.high);
  Key above = 0, from_high = 0, at_low = 0, zeros = 0;
  for (int i = 0; i < count; ++i) {
    above += keys[i] > high;
    from_high += keys[i] >= high;
    at_low += keys[i] == low;
    zeros += keys[i] == 0;
  }
  counts.above += above;
  counts.at_high += from_high - above;
  counts.zeros += zeros;
  if (low == high) return 0;
  counts.at_low += at_low;
  int n = 0;
  const Key after_low = low + 1, width = high - after_low;
  for_columns_with(keys, count, after_low, width, [&](int i) __attribute__((always_inline)) {
    found[n] = keys[i];
    n += static_cast<Key>(keys[i] - after_low) < width;
  });
  return n;
}

// ---- trimming ----

// The edge in a block: an element is inside if its key is at least `before`, up to the cut, and `after` from there on. The cut
// lies in one block of a tensor: in all others a comparison of the key is enough.
template <class Key>
struct BlockEdge {
  Key before, after;
  std::int32_t cut;

  M2M_INLINE BlockEdge(const LocalEdge& edge, int count)
      : before(static_cast<Key>(edge.key)),
        after(before == static_cast<Key>(~Key{0}) ? before : before + 1),
        cut(static_cast<std::int32_t>(std::clamp<std::int64_t>(edge.cut, 0, count))) {
    if (cut == 0) before = after;
    if (cut == count) after = before;
  }
  M2M_INLINE bool is_cut() const { return before != after; }
  M2M_INLINE Key least(std::int32_t i) const { return i < cut ? before : after; }
};

template <class Real>
M2M_INLINE void keep_drawn_body(const std::uint32_t* words, std::uint32_t keep_below, int count, Real* __restrict vector) {
  for (int i = 0; i < count; ++i) vector[i] = words[i] < keep_below ? vector[i] : Real{0};
}

M2M_INLINE void ranked_probabilities_body(const std::uint32_t* ranks, const ExpertSpec& spec, std::int64_t columns, int count,
                                          double* __restrict probabilities) {
  const double width = spec.high - spec.low, last = static_cast<double>(columns - 1);
  if (!spec.to_ends) {
    for (int i = 0; i < count; ++i) probabilities[i] = spec.high - width * double(ranks[i]) / (last + 1);
  } else if (columns > 1) {
    for (int i = 0; i < count; ++i) probabilities[i] = spec.low + width * (last - double(ranks[i])) / last;
  } else {
    std::fill_n(probabilities, count, spec.single);
  }
}

template <class Real>
M2M_INLINE void keep_ranked_body(const std::uint32_t* words, const double* probabilities, int count, Real* __restrict vector) {
  // A whole number below the floor of x is one whose successor is at most x.
  for (int i = 0; i < count; ++i) vector[i] = double(words[i]) + 1 <= probabilities[i] * 0x1p32 ? vector[i] : Real{0};
}

template <class Real>
M2M_INLINE void keep_between_body(const LocalEdge& outer, const LocalEdge& inner, int count, Real* __restrict vector) {
  const BlockEdge<KeyOf<Real>> from(outer, count), to(inner, count);
  const auto keep = [&](std::int32_t i, KeyOf<Real> least, KeyOf<Real> beyond) __attribute__((always_inline)) {
    const KeyOf<Real> key = key_of(vector[i]);
    vector[i] = (key >= least) & (key < beyond) ? vector[i] : Real{0};
  };
  if (from.is_cut() || to.is_cut()) {
    for (std::int32_t i = 0; i < count; ++i) keep(i, from.least(i), to.least(i));
  } else {
    for (std::int32_t i = 0; i < count; ++i) keep(i, from.before, to.before);
  }
}

template <class Mask>
M2M_INLINE void mask_inside_body(const std::uint64_t* keys, const LocalEdge& edge, int count, Mask* __restrict mask) {
  const BlockEdge<std::uint64_t> from(edge, count);
  const auto mark = [&](std::int32_t i, std::uint64_t least)
                        __attribute__((always_inline)) { mask[i] = keys[i] >= least ? static_cast<Mask>(~Mask{0}) : Mask{0}; };
  if (from.is_cut()) {
    for (std::int32_t i = 0; i < count; ++i) mark(i, from.least(i));
  } else {
    for (std::int32_t i = 0; i < count; ++i) mark(i, from.before);
  }
}

template <class Real>
M2M_INLINE void keep_masked_body(const KeyOf<Real>* mask, int count, Real* __restrict vector) {
  for (int i = 0; i < count; ++i)
    vector[i] = bit_cast<Real>(static_cast<KeyOf<Real>>(bit_cast<KeyOf<Real>>(vector[i]) & mask[i]));
}

M2M_INLINE void invert_body(int count, double* __restrict values) {
  for (int i = 0; i < count; ++i) values[i] = values[i] > 0 ? 1 / values[i] : 1.0;
}

// ---- writing ----

M2M_INLINE void signed_keys_body(const double* values, int count, std::uint64_t* __restrict keys) {
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  for (int i = 0; i < count; ++i) {
    const auto bits = bit_cast<std::uint64_t>(values[i] + 0.0);
    keys[i] = bits & sign ? ~bits : bits | sign;
  }
}

M2M_INLINE void choose_body(const std::uint64_t* keys, std::uint64_t least, const double* other, int count,
                            double* __restrict chosen) {
  for (int i = 0; i < count; ++i) chosen[i] = keys[i] >= least ? other[i] : chosen[i];
}

M2M_INLINE void store_block_body(const double* values, int count, Dtype output, void* out, std::int64_t start) {
  dispatch(output, [&](auto tag) __attribute__((always_inline)) {
    using Out = typename decltype(tag)::type;
    Out* __restrict stored = static_cast<Out*>(out) + start;
    for (int i = 0; i < count; ++i) store(values[i], stored + i);
  });
}

template <class Real>
M2M_INLINE void add_to_base_body(const Real* base, const double* change, double divisor, double factor, int count, Dtype output,
                                 void* out, std::int64_t start) {
  double sums[kSelectBlock];
  std::copy_n(change, count, sums);
  if (divisor != 1)
    for (int i = 0; i < count; ++i) sums[i] /= divisor;
  for (int i = 0; i < count; ++i) sums[i] = double{base[i]} + factor * sums[i];
  store_block_body(sums, count, output, out, start);
}

}  // namespace

// Defines the function for task vectors in float and in double.
#define M2M_REAL_CLONES(name, FloatParameters, DoubleParameters, Arguments) \
  M2M_CLONES(void, name, FloatParameters, Arguments)                        \
  M2M_CLONES(void, name, DoubleParameters, Arguments)

M2M_REAL_CLONES(widen_block, (Dtype dtype, const void* input, std::int64_t start, int count, float* wide),
                (Dtype dtype, const void* input, std::int64_t start, int count, double* wide),
                (dtype, input, start, count, wide))
M2M_REAL_CLONES(task_vector, (Dtype dtype, const void* base, const void* expert, std::int64_t start, int count, float* vector),
                (Dtype dtype, const void* base, const void* expert, std::int64_t start, int count, double* vector),
                (dtype, base, expert, start, count, vector))
M2M_REAL_CLONES(as_doubles, (const float* values, int count, double* wide), (const double* values, int count, double* wide),
                (values, count, wide))
M2M_REAL_CLONES(magnitudes, (const float* values, int count, double* wide), (const double* values, int count, double* wide),
                (values, count, wide))
M2M_REAL_CLONES(squares, (const float* values, int count, double* wide), (const double* values, int count, double* wide),
                (values, count, wide))
M2M_REAL_CLONES(magnitude_keys,
                (Dtype dtype, const void* base, const void* expert, std::int64_t start, int count, std::uint32_t* keys),
                (Dtype dtype, const void* base, const void* expert, std::int64_t start, int count, std::uint64_t* keys),
                (dtype, base, expert, start, count, keys))
M2M_REAL_CLONES(count_all,
                (const std::uint32_t* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range),
                (const std::uint64_t* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range),
                (keys, count, digit, counts, range))
M2M_REAL_CLONES(count_some,
                (const std::uint32_t* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range),
                (const std::uint64_t* keys, int count, const RankDigit& digit, std::uint32_t* counts, BinRange& range),
                (keys, count, digit, counts, range))
M2M_CLONES(int, find_some, (const std::uint32_t* keys, int count, const RankDigit& digit, std::uint64_t* found),
           (keys, count, digit, found))
M2M_CLONES(int, find_some, (const std::uint64_t* keys, int count, const RankDigit& digit, std::uint64_t* found),
           (keys, count, digit, found))
M2M_CLONES(int, find_between,
           (const std::uint32_t* keys, int count, const Bracket& bracket, BracketCounts& counts, std::uint64_t* found),
           (keys, count, bracket, counts, found))
M2M_CLONES(int, find_between,
           (const std::uint64_t* keys, int count, const Bracket& bracket, BracketCounts& counts, std::uint64_t* found),
           (keys, count, bracket, counts, found))
M2M_REAL_CLONES(keep_drawn, (const std::uint32_t* words, std::uint32_t keep_below, int count, float* vector),
                (const std::uint32_t* words, std::uint32_t keep_below, int count, double* vector),
                (words, keep_below, count, vector))
M2M_CLONES(void, ranked_probabilities,
           (const std::uint32_t* ranks, const ExpertSpec& spec, std::int64_t columns, int count, double* probabilities),
           (ranks, spec, columns, count, probabilities))
M2M_REAL_CLONES(keep_ranked, (const std::uint32_t* words, const double* probabilities, int count, float* vector),
                (const std::uint32_t* words, const double* probabilities, int count, double* vector),
                (words, probabilities, count, vector))
M2M_REAL_CLONES(keep_between, (const LocalEdge& outer, const LocalEdge& inner, int count, float* vector),
                (const LocalEdge& outer, const LocalEdge& inner, int count, double* vector), (outer, inner, count, vector))
M2M_REAL_CLONES(mask_inside, (const std::uint64_t* keys, const LocalEdge& edge, int count, std::uint32_t* mask),
                (const std::uint64_t* keys, const LocalEdge& edge, int count, std::uint64_t* mask), (keys, edge, count, mask))
M2M_REAL_CLONES(keep_masked, (const std::uint32_t* mask, int count, float* vector),
                (const std::uint64_t* mask, int count, double* vector), (mask, count, vector))
M2M_CLONES(void, invert, (int count, double* values), (count, values))
M2M_CLONES(void, signed_keys, (const double* values, int count, std::uint64_t* keys), (values, count, keys))
M2M_CLONES(void, choose, (const std::uint64_t* keys, std::uint64_t least, const double* other, int count, double* chosen),
           (keys, least, other, count, chosen))
M2M_CLONES(void, store_block, (const double* values, int count, Dtype output, void* out, std::int64_t start),
           (values, count, output, out, start))
M2M_REAL_CLONES(add_to_base,
                (const float* base, const double* change, double divisor, double factor, int count, Dtype output, void* out,
                 std::int64_t start),
                (const double* base, const double* change, double divisor, double factor, int count, Dtype output, void* out,
                 std::int64_t start),
                (base, change, divisor, factor, count, output, out, start))

}  // namespace m2m
