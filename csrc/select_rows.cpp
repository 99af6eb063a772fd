#include "select_rows.h"

namespace m2m {

template <class Key>
void RowRanker<Key>::rank(const Key* keys, std::int64_t columns, std::uint32_t* ranks) {
  bits_ = columns >= 2048 ? 11 : 8;  // going through the bins of a digit should not take longer than through the row
  digits_ = (static_cast<int>(8 * sizeof(Key)) + bits_ - 1) / bits_;
  count_digits(keys, columns);
  if (varying_.empty()) varying_.push_back(0);  // all are equal: any digit gives them their order
  entries_.resize(columns);
  spare_.resize(columns);
  const auto from_keys = [&](std::int64_t i) { return Entry{static_cast<Key>(~keys[i]), static_cast<std::uint32_t>(i)}; };
  const auto from_entries = [&](std::int64_t i) { return entries_[i]; };
  const auto to_spare = [&](std::uint32_t place, const Entry& entry) { spare_[place] = entry; };
  const auto to_ranks = [&](std::uint32_t place, const Entry& entry) { ranks[entry.index] = place; };
  for (std::size_t step = 0; step + 1 < varying_.size(); ++step) {
    if (step == 0) {
      pass(varying_[step], columns, from_keys, to_spare);
    } else {
      pass(varying_[step], columns, from_entries, to_spare);
    }
    entries_.swap(spare_);
  }
  if (varying_.size() == 1) {
    pass(varying_.back(), columns, from_keys, to_ranks);
  } else {
    pass(varying_.back(), columns, from_entries, to_ranks);
  }
}

// Where the elements of each bin of each digit begin. Keys are inverted: ascending order is then largest first.
template <class Key>
void RowRanker<Key>::count_digits(const Key* keys, std::int64_t columns) {
  const std::size_t bins = std::size_t{1} << bits_;
  const Key mask = static_cast<Key>(bins - 1);
  Key differing = 0;
  for (std::int64_t i = 0; i < columns; ++i) differing |= keys[i] ^ keys[0];
  varying_.clear();
  for (int digit = 0; digit < digits_; ++digit)
    if ((differing >> (digit * bits_)) & mask) varying_.push_back(digit);
  starts_.assign(2 * bins * digits_, 0);
  for (const int digit : varying_) {
    // Two sets of counts: equal neighbours need not wait for each other.
    std::uint32_t* even = starts_.data() + digit * bins;
    std::uint32_t* odd = even + bins * digits_;
    const auto bin_of = [&](std::int64_t i) { return (~keys[i] >> (digit * bits_)) & mask; };
    for (std::int64_t i = 0; i + 1 < columns; i += 2) {
      ++even[bin_of(i)];
      ++odd[bin_of(i + 1)];
    }
    if (columns % 2) ++even[bin_of(columns - 1)];
    std::uint32_t start = 0;
    for (std::size_t bin = 0; bin < bins; ++bin) {
      const std::uint32_t count = even[bin] + odd[bin];
      even[bin] = start;
      start += count;
    }
  }
}

// Hands out the places of the entries, in their order by one digit.
template <class Key>
template <class Entries, class Place>
void RowRanker<Key>::pass(int digit, std::int64_t columns, Entries&& entries, Place&& place) {
  const std::size_t bins = std::size_t{1} << bits_;
  const Key mask = static_cast<Key>(bins - 1);
  const int shift = digit * bits_;
  std::uint32_t* starts = starts_.data() + digit * bins;
  for (std::int64_t i = 0; i < columns; ++i) {
    const Entry entry = entries(i);
    place(starts[(entry.key >> shift) & mask]++, entry);
  }
}

template class RowRanker<std::uint32_t>;
template class RowRanker<std::uint64_t>;

}  // namespace m2m
