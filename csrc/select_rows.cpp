#include "select_rows.h"

#include <algorithm>
#include <cmath>

namespace m2m {

void RankTable::fill(const ExpertSpec& expert, std::int64_t columns, double factor) {
  keep_below_.resize(columns);
  factors_.resize(columns);
  const double width = expert.high - expert.low;
  const auto count = static_cast<double>(columns);
  for (std::int64_t rank = 0; rank < columns; ++rank) {
    const auto r = static_cast<double>(rank);
    double keep = expert.high - width * r / count;
    if (expert.to_ends) keep = columns > 1 ? expert.low + width * (count - 1 - r) / (count - 1) : expert.single;
    keep_below_[rank] = static_cast<std::uint64_t>(std::max(0.0, std::floor(std::ldexp(keep, 32))));
    factors_[rank] = expert.inverse_scale ? expert.weight * (keep > 0 ? 1 / keep : 1) : factor;
  }
}

template <class Key>
const RowEntry<Key>* RowSorter<Key>::sort(const Key* keys, std::int64_t columns) {
  fill(keys, columns);
  const int bits = columns >= 2048 ? 11 : 8;  // counting a digit takes as long as adding up its bins
  Key varying = 0;
  for (std::int64_t i = 1; i < columns; ++i) varying |= keys[i] ^ keys[0];
  for (int shift = 0; shift < static_cast<int>(8 * sizeof(Key)); shift += bits) {
    const Key digit = static_cast<Key>(((Key{1} << bits) - 1) << shift);
    if (varying & digit) scatter(columns, shift, bits);  // a digit that all share changes no order
  }
  return entries_.data();
}

template <class Key>
void RowSorter<Key>::fill(const Key* keys, std::int64_t columns) {
  entries_.resize(columns);
  spare_.resize(columns);
  // Inverted, so that ascending order is largest first.
  for (std::int64_t i = 0; i < columns; ++i) entries_[i] = {static_cast<Key>(~keys[i]), static_cast<std::uint32_t>(i)};
}

// One stable pass by a digit (least significant first).
template <class Key>
void RowSorter<Key>::scatter(std::int64_t columns, int shift, int bits) {
  const auto mask = static_cast<Key>((Key{1} << bits) - 1);
  starts_.assign(std::size_t{1} << bits, 0);
  for (std::int64_t i = 0; i < columns; ++i) ++starts_[(entries_[i].key >> shift) & mask];
  std::uint32_t start = 0;
  for (std::uint32_t& bin : starts_) {
    const std::uint32_t count = bin;
    bin = start;
    start += count;
  }
  for (std::int64_t i = 0; i < columns; ++i) spare_[starts_[(entries_[i].key >> shift) & mask]++] = entries_[i];
  entries_.swap(spare_);
}

template class RowSorter<std::uint32_t>;
template class RowSorter<std::uint64_t>;

}  // namespace m2m
