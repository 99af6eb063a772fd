#include "select/rows.h"

#include <algorithm>
#include <utility>

#include "core/isa.h"

namespace m2m {

namespace {

// Going through the bins should not take longer than through the row, and they should fit the first-level cache.
constexpr std::uint32_t kMostBins = 4096;
constexpr std::uint32_t kLeastBins = 16;

// The finest bins for what lies between the largest key and the smallest that is not zero.
template <class Key>
M2M_INLINE void choose_bins_body(const Key* keys, std::int64_t columns, RowBins<Key>& bins) {
  Key largest = 0, below_smallest = static_cast<Key>(~Key{0});
  for (std::int64_t i = 0; i < columns; ++i) {
    largest = std::max(largest, keys[i]);
    below_smallest = std::min(below_smallest, static_cast<Key>(keys[i] - 1));  // zero becomes the largest number
  }
  const Key smallest = std::min(largest, static_cast<Key>(below_smallest + 1));
  const auto most = std::clamp<std::int64_t>(columns, kLeastBins, kMostBins);
  int shift = 0;
  while ((largest >> shift) - (smallest >> shift) >= static_cast<Key>(most)) ++shift;
  bins = {shift, largest >> shift, static_cast<std::uint32_t>((largest >> shift) - (smallest >> shift)) + 1};
}

template <class Key>
M2M_INLINE void bins_of_body(const Key* keys, std::int64_t columns, const RowBins<Key>& bins, std::uint32_t* __restrict found) {
  const RowBins<Key> local = bins;
  const Key rest = static_cast<Key>((Key{1} << local.shift) - 1);
  const std::uint32_t of_long = local.of_long();
  for (std::int64_t i = 0; i < columns; ++i) {
    const std::uint32_t any = of_long + static_cast<std::uint32_t>(i % RowBins<Key>::long_bins);
    const std::uint32_t bin = (keys[i] & rest) != 0 ? any : local(keys[i]);
    found[i] = keys[i] == 0 ? local.zero : bin;
  }
}

M2M_CLONES(void, choose_bins, (const std::uint32_t* keys, std::int64_t columns, RowBins<std::uint32_t>& bins),
           (keys, columns, bins))
M2M_CLONES(void, choose_bins, (const std::uint64_t* keys, std::int64_t columns, RowBins<std::uint64_t>& bins),
           (keys, columns, bins))
M2M_CLONES(void, bins_of,
           (const std::uint32_t* keys, std::int64_t columns, const RowBins<std::uint32_t>& bins, std::uint32_t* found),
           (keys, columns, bins, found))
M2M_CLONES(void, bins_of,
           (const std::uint64_t* keys, std::int64_t columns, const RowBins<std::uint64_t>& bins, std::uint32_t* found),
           (keys, columns, bins, found))

}  // namespace

template <class Key>
void RowRanker<Key>::rank(const Key* keys, std::int64_t columns, std::uint32_t* ranks) {
  choose_bins(keys, columns, row_bins_);
  bins_.resize(columns);
  bins_of(keys, columns, row_bins_, bins_.data());
  collect_long(keys, columns);
  if (2 * static_cast<std::int64_t>(n_entries_) > columns) return rank_all(keys, columns, ranks);
  count_short(columns);
  sort_entries();
  // After a short key come those of its bin that are short too; before it, the long ones of its bin and of those before.
  std::uint32_t* next = counts_.data();
  for (std::size_t place = 0; place < n_entries_; ++place) ++next[bin_of(entries_[place])];
  std::uint32_t longs = 0;
  for (std::uint32_t bin = 0; bin < row_bins_.size(); ++bin) {
    longs += next[bin];
    next[bin] = before_[bin] + longs;
  }
  const std::uint32_t* bins = bins_.data();
  for (std::int64_t i = 0; i < columns; ++i) ranks[i] = next[bins[i]]++;
  for (std::size_t place = 0; place < n_entries_; ++place)
    ranks[entries_[place].index] = before_[bin_of(entries_[place])] + static_cast<std::uint32_t>(place);
}

// Where most keys are long, the others gain nothing by being counted.
template <class Key>
void RowRanker<Key>::rank_all(const Key* keys, std::int64_t columns, std::uint32_t* ranks) {
  for (std::int64_t i = 0; i < columns; ++i) entries_[i] = {static_cast<Key>(~keys[i]), static_cast<std::uint32_t>(i)};
  n_entries_ = columns;
  sort_entries();
  for (std::int64_t place = 0; place < columns; ++place) ranks[entries_[place].index] = static_cast<std::uint32_t>(place);
}

// Leaves the counts at zero.
template <class Key>
void RowRanker<Key>::count_short(std::int64_t columns) {
  const std::size_t n_bins = row_bins_.size();
  counts_.assign(2 * n_bins, 0);
  // Two sets of counts: equal neighbours need not wait for each other.
  std::uint32_t *even = counts_.data(), *odd = even + n_bins;
  const std::uint32_t* bins = bins_.data();
  for (std::int64_t i = 0; i + 1 < columns; i += 2) {
    ++even[bins[i]];
    ++odd[bins[i + 1]];
  }
  if (columns % 2) ++even[bins[columns - 1]];
  before_.resize(n_bins);
  std::uint32_t before = 0;
  for (std::size_t bin = 0; bin < n_bins; ++bin) {
    before_[bin] = before;
    before += even[bin] + odd[bin];
    even[bin] = 0;
  }
}

template <class Key>
void RowRanker<Key>::collect_long(const Key* keys, std::int64_t columns) {
  entries_.resize(columns + 1);
  spare_.resize(columns + 1);
  Entry* next = entries_.data();
  const std::uint32_t* bins = bins_.data();
  const std::uint32_t of_long = row_bins_.of_long();
  for (std::int64_t i = 0; i < columns; ++i) {
    *next = {static_cast<Key>(~keys[i]), static_cast<std::uint32_t>(i)};
    next += bins[i] >= of_long;
  }
  n_entries_ = static_cast<std::size_t>(next - entries_.data());
}

template <class Key>
void RowRanker<Key>::sort_entries() {
  Key differing = 0;
  for (std::size_t i = 0; i < n_entries_; ++i) differing |= entries_[i].key ^ entries_[0].key;
  const int bits = n_entries_ >= 1024 ? 11 : 8;
  for (int shift = 0; shift < static_cast<int>(8 * sizeof(Key)); shift += bits)
    if ((differing >> shift) & ((Key{1} << bits) - 1)) sort_by(shift, bits);
}

// By one digit; entries whose digits are equal keep their order.
template <class Key>
void RowRanker<Key>::sort_by(int shift, int bits) {
  const Key mask = static_cast<Key>((Key{1} << bits) - 1);
  const std::size_t n_bins = std::size_t{1} << bits;
  starts_.assign(2 * n_bins, 0);
  std::uint32_t *starts = starts_.data(), *odd = starts + n_bins;
  const Entry *from = entries_.data(), *end = from + n_entries_;
  std::uint32_t* sets[] = {starts, odd};
  for (std::size_t i = 0; i < n_entries_; ++i) {
    const Key digit = (from[i].key >> shift) & mask;
    ++sets[i % 2][digit];
  }
  std::uint32_t start = 0;
  for (std::size_t bin = 0; bin < n_bins; ++bin) start += std::exchange(starts[bin], start) + odd[bin];
  Entry* to = spare_.data();
  for (const Entry* entry = from; entry != end; ++entry) to[starts[(entry->key >> shift) & mask]++] = *entry;
  entries_.swap(spare_);
}

template class RowRanker<std::uint32_t>;
template class RowRanker<std::uint64_t>;

}  // namespace m2m
