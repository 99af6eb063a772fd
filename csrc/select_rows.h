// Keep probabilities by rank of magnitude in a row (MAGPRUNE of DELLA, Deep et al. 2024, arXiv 2406.11617, section 3.1).
#pragma once

#include <cstdint>
#include <vector>

#include "select_spec.h"

namespace m2m {

template <class Key>
struct RowEntry {
  Key key;
  std::uint32_t index;
};

// What each rank of a row means: which words keep the element, and the factor of a kept one.
class RankTable {
 public:
  // `factor` is that of all kept elements, unless each is divided by its own keep probability.
  void fill(const ExpertSpec& expert, std::int64_t columns, double factor);
  std::uint64_t keep_below(std::int64_t rank) const { return keep_below_[rank]; }
  double factor(std::int64_t rank) const { return factors_[rank]; }

 private:
  std::vector<std::uint64_t> keep_below_;
  std::vector<double> factors_;
};

// Orders a row by magnitude: largest key first, of equal keys the lower index.
template <class Key>
class RowSorter {
 public:
  const RowEntry<Key>* sort(const Key* keys, std::int64_t columns);

 private:
  void fill(const Key* keys, std::int64_t columns);
  void scatter(std::int64_t columns, int shift, int bits);

  std::vector<RowEntry<Key>> entries_;
  std::vector<RowEntry<Key>> spare_;
  std::vector<std::uint32_t> starts_;
};

}  // namespace m2m
