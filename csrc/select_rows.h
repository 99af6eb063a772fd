// Ranks of magnitudes in a row (for DELLA's MAGPRUNE, Deep et al. 2024, arXiv 2406.11617, section 3.1).
#pragma once

#include <cstdint>
#include <vector>

namespace m2m {

// Ranks by a radix sort, least significant digit first: stable, so that of equal keys the lower index ranks first.
template <class Key>
class RowRanker {
 public:
  // ranks[i] is 0 for the largest key, columns - 1 for the smallest.
  void rank(const Key* keys, std::int64_t columns, std::uint32_t* ranks);

 private:
  struct Entry {
    Key key;
    std::uint32_t index;
  };

  void count_digits(const Key* keys, std::int64_t columns);
  template <class Entries, class Place>
  void pass(int digit, std::int64_t columns, Entries&& entries, Place&& place);

  int bits_;  // of a digit
  int digits_;
  std::vector<int> varying_;           // digits that are not the same in all keys, least significant first
  std::vector<std::uint32_t> starts_;  // [2, digits, bins]
  std::vector<Entry> entries_;
  std::vector<Entry> spare_;
};

}  // namespace m2m
