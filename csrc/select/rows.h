// Ranks of magnitudes in a row (for DELLA's MAGPRUNE, Deep et al. 2024, arXiv 2406.11617, section 3.1).
#pragma once

#include <cstdint>
#include <vector>

namespace m2m {

// Bins by leading bits; a key whose other bits are zero is short: it is the smallest its bin can hold.
template <class Key>
struct RowBins {
  int shift;           // the other bits
  Key top;             // the largest key's leading bits: bin 0
  std::uint32_t zero;  // the bin of keys that are zero

  // Keys that are not short are put by turns in bins of no meaning: neighbours need not wait for each other.
  static constexpr std::uint32_t long_bins = 16;
  std::uint32_t of_long() const { return zero + 1; }
  std::uint32_t size() const { return of_long() + long_bins; }

  // Of a key that is not zero.
  std::uint32_t operator()(Key key) const { return static_cast<std::uint32_t>(top - (key >> shift)); }
};

// In 16-bit checkpoints nearly all keys are short: counting gives their ranks. The long ones are sorted digit by digit, least
// significant first, and the two are merged by their bins. Both keep the order of equal keys. Rows of mostly long keys are
// sorted whole.
template <class Key>
class RowRanker {
 public:
  // ranks[i] is 0 for the largest key, columns - 1 for the smallest; of equal keys the lower index ranks first.
  void rank(const Key* keys, std::int64_t columns, std::uint32_t* ranks);

 private:
  struct Entry {
    Key key;  // inverted: ascending order is then largest first
    std::uint32_t index;
  };

  std::uint32_t bin_of(const Entry& entry) const { return row_bins_(static_cast<Key>(~entry.key)); }
  void rank_all(const Key* keys, std::int64_t columns, std::uint32_t* ranks);
  void count_short(std::int64_t columns);
  void collect_long(const Key* keys, std::int64_t columns);
  void sort_entries();
  void sort_by(int shift, int bits);

  RowBins<Key> row_bins_{};
  std::vector<std::uint32_t> bins_;    // [columns]
  std::vector<std::uint32_t> counts_;  // [2, bins]
  std::vector<std::uint32_t> before_;  // [bins] short keys in the bins before
  std::vector<std::uint32_t> starts_;  // of a digit's bins
  std::vector<Entry> entries_;         // [columns + 1] the long keys, or all
  std::size_t n_entries_ = 0;
  std::vector<Entry> spare_;
};

}  // namespace m2m
