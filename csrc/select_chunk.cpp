#include "select_chunk.h"

#include <algorithm>

namespace m2m {

namespace {

// The edge as a block that starts at `start` sees it.
LocalEdge shifted(const LocalEdge& edge, std::int64_t start) { return {edge.key, edge.cut - start}; }

}  // namespace

template <class Real>
template <class Visit>
void SelectChunk<Real>::for_blocks(std::int64_t begin, std::int64_t end, Visit&& visit) {
  for (std::int64_t start = begin; start < end; start += kBlock)
    visit(start, static_cast<int>(std::min<std::int64_t>(kBlock, end - start)));
}

// ---- task vectors and keys ----

template <class Real>
void SelectChunk<Real>::task_vector(int expert, std::int64_t start, int count, Real* vector) {
  Real base[kBlock];
  widen_block(inputs_.dtype, inputs_.base, start, count, base);
  widen_block(inputs_.dtype, inputs_.experts[expert], start, count, vector);
  subtract(base, count, vector);
}

template <class Real>
void SelectChunk<Real>::magnitudes(int expert, std::int64_t start, int count, Key* keys) {
  Real vector[kBlock];
  task_vector(expert, start, count, vector);
  keys_of(vector, count, keys);
}

// All task vectors as values.
template <class Real>
void SelectChunk<Real>::fill_values(std::int64_t start, int count) {
  for (int n = 0; n < n_experts(); ++n) {
    Real vector[kBlock];
    task_vector(n, start, count, vector);
    scale(vector, 1, count, values(n));
  }
}

template <class Real>
void SelectChunk<Real>::variances(std::int64_t start, int count, std::uint64_t* keys) {
  fill_values(start, count);
  variance_keys(scratch_.values.data(), n_experts(), count, keys);
}

// ---- looking for ranks ----

template <class Real>
template <class AnyKey, class Fill>
BinRange SelectChunk<Real>::count_keys(int key_bits, const RankDigit& digit, Fill&& fill) {
  BinRange range;
  const bool all = digit.shift + digit.bits == key_bits;
  for_blocks(0, inputs_.count, [&](std::int64_t start, int count) {
    AnyKey keys[kBlock];
    fill(start, count, keys);
    if (all) {
      count_all(keys, count, digit, scratch_.counts.data(), range);
    } else {
      count_some(keys, count, digit, scratch_.counts.data(), range);
    }
  });
  return range;
}

template <class Real>
BinRange SelectChunk<Real>::count_magnitudes(int expert, const RankDigit& digit) {
  return count_keys<Key>(magnitude_bits, digit,
                         [&](std::int64_t start, int count, Key* keys) { magnitudes(expert, start, count, keys); });
}

template <class Real>
BinRange SelectChunk<Real>::count_variances(const RankDigit& digit) {
  return count_keys<std::uint64_t>(
      variance_bits, digit, [&](std::int64_t start, int count, std::uint64_t* keys) { variances(start, count, keys); });
}

// Where the quota of equal keys runs out is looked up in the chunk where it does: in all others it is one end or the other.
template <class Real>
template <class AnyKey, class Fill>
LocalEdge SelectChunk<Real>::local_edge(const RankEdge& edge, Fill&& fill) {
  if (edge.from >= inputs_.first + inputs_.count) return {edge.key, inputs_.count};
  if (edge.from < inputs_.first || edge.quota == 0) return {edge.key, 0};
  std::int64_t left = edge.quota, cut = inputs_.count;
  for_blocks(edge.from - inputs_.first, inputs_.count, [&](std::int64_t start, int count) {
    if (left == 0) return;
    AnyKey keys[kBlock];
    fill(start, count, keys);
    for (int i = 0; i < count && left > 0; ++i)
      if (keys[i] == static_cast<AnyKey>(edge.key) && --left == 0) cut = start + i + 1;
  });
  return {edge.key, cut};
}

template <class Real>
LocalEdge SelectChunk<Real>::magnitude_edge(int expert, const RankEdge& edge) {
  return local_edge<Key>(edge, [&](std::int64_t start, int count, Key* keys) { magnitudes(expert, start, count, keys); });
}

template <class Real>
LocalEdge SelectChunk<Real>::variance_edge(const RankEdge& edge) {
  return local_edge<std::uint64_t>(
      edge, [&](std::int64_t start, int count, std::uint64_t* keys) { variances(start, count, keys); });
}

// ---- trimming ----

template <class Real>
void SelectChunk<Real>::trim(int expert, const ChunkTrim& trim, std::int64_t start, int count, Real* vector) {
  const ExpertSpec& spec = spec_.experts[expert];
  if (spec.trim == Trim::draw) {
    alignas(64) std::uint32_t room[philox_room(kBlock)];
    const std::uint32_t* words = draw_words(spec.key, inputs_.first + start, count, room);
    keep_drawn(words, static_cast<std::uint32_t>(spec.keep_below), count, vector);
  } else if (spec.trim == Trim::largest) {
    keep_between(shifted(trim.outer, start), shifted(trim.inner, start), count, vector);
  }
}

// Calls `visit(begin, end)` row by row once the rows' factors are drawn, or for the whole chunk if no expert needs them.
template <class Real>
template <class Visit>
void SelectChunk<Real>::for_rows(const std::vector<double>& factors, Visit&& visit) {
  if (!spec_.ranks_rows()) return visit(0, inputs_.count);
  scratch_.tables.resize(spec_.experts.size());
  scratch_.factors.resize(spec_.experts.size() * spec_.row);
  for (int n = 0; n < n_experts(); ++n)
    if (spec_.experts[n].trim == Trim::ranked) scratch_.tables[n].fill(spec_.experts[n], spec_.row, factors[n]);
  for (std::int64_t start = 0; start < inputs_.count; start += spec_.row) {
    for (int n = 0; n < n_experts(); ++n)
      if (spec_.experts[n].trim == Trim::ranked && inputs_.experts[n]) draw_row(n, start);
    visit(start, start + spec_.row);
  }
}

// Factors of the elements of one row, zero for the dropped ones.
template <class Real>
void SelectChunk<Real>::draw_row(int expert, std::int64_t start) {
  const std::int64_t columns = spec_.row;
  scratch_.keys.resize(columns);
  scratch_.words.resize(columns);
  for_blocks(0, columns, [&](std::int64_t from, int count) {
    alignas(64) std::uint32_t room[philox_room(kBlock)];
    const std::uint32_t* words = draw_words(spec_.experts[expert].key, inputs_.first + start + from, count, room);
    std::copy_n(words, count, scratch_.words.data() + from);
    magnitudes(expert, start + from, count, scratch_.keys.data() + from);
  });
  const RowEntry<Key>* order = scratch_.sorter.sort(scratch_.keys.data(), columns);
  const RankTable& table = scratch_.tables[expert];
  double* factors = scratch_.factors.data() + expert * columns;
  for (std::int64_t rank = 0; rank < columns; ++rank) {
    const std::uint32_t i = order[rank].index;
    factors[i] = scratch_.words[i] < table.keep_below(rank) ? table.factor(rank) : 0.0;
  }
}

template <class Real>
const double* SelectChunk<Real>::row_factors(int expert, std::int64_t place) const {
  return scratch_.factors.data() + expert * spec_.row + place;
}

// The selected elements of all task vectors, zero elsewhere, as values.
template <class Real>
void SelectChunk<Real>::select(const LocalEdge& edge, std::int64_t start, int count) {
  if (spec_.share == 1) return fill_values(start, count);
  std::uint64_t keys[kBlock];
  variances(start, count, keys);
  for (int n = 0; n < n_experts(); ++n) keep_inside(keys, shifted(edge, start), count, values(n));
}

// ---- looking for norms and energies ----

template <class Real>
void SelectChunk<Real>::add_norms(const std::vector<ChunkTrim>& trims, std::vector<OrderedSum::Cursor>& sums) {
  const std::vector<double> ones(spec_.experts.size(), 1.0);
  for_rows(ones, [&](std::int64_t begin, std::int64_t end) {
    for_blocks(begin, end, [&](std::int64_t start, int count) {
      auto sum = sums.begin();
      for (int n = 0; n < n_experts(); ++n) {
        if (!spec_.experts[n].keeps_norm) continue;
        Real vector[kBlock];
        double sizes[kBlock];
        task_vector(n, start, count, vector);
        scale(vector, 1, count, sizes);
        absolute(count, sizes);
        (sum++)->add(sizes, count);
        trim(n, trims[n], start, count, vector);
        if (spec_.experts[n].trim == Trim::ranked) {
          scale_each(vector, row_factors(n, start - begin), count, sizes);
        } else {
          scale(vector, 1, count, sizes);
        }
        absolute(count, sizes);
        (sum++)->add(sizes, count);
      }
    });
  });
}

template <class Real>
void SelectChunk<Real>::add_energies(const LocalEdge& edge, std::vector<OrderedSum::Cursor>& sums) {
  for_blocks(0, inputs_.count, [&](std::int64_t start, int count) {
    select(edge, start, count);
    for (int n = 0; n < n_experts(); ++n) {
      square(count, values(n));
      sums[n].add(values(n), count);
    }
  });
}

// ---- writing ----

template <class Real>
void SelectChunk<Real>::store(std::int64_t start, int count, const double* change, double divisor, double factor, Dtype output,
                              void* out) {
  Real base[kBlock];
  widen_block(inputs_.dtype, inputs_.base, start, count, base);
  add_to_base(base, change, divisor, factor, count, output, out, start);
}

template <class Real>
void SelectChunk<Real>::write_trimmed(const std::vector<ChunkTrim>& trims, Dtype output, void* out) {
  const std::vector<double> ones(spec_.experts.size(), 1.0), weights = spec_.weights();
  const bool elects = spec_.combine == Combine::elect;
  std::vector<double> factors;
  for (const ChunkTrim& trim : trims) factors.push_back(trim.factor);
  for_rows(factors, [&](std::int64_t begin, std::int64_t end) {
    for_blocks(begin, end, [&](std::int64_t start, int count) {
      for (int n = 0; n < n_experts(); ++n) {
        Real vector[kBlock];
        if (!inputs_.experts[n]) {
          std::fill_n(values(n), count, 0.0);
          continue;
        }
        task_vector(n, start, count, vector);
        trim(n, trims[n], start, count, vector);
        if (spec_.experts[n].trim == Trim::ranked) {
          scale_each(vector, row_factors(n, start - begin), count, values(n));
        } else {
          scale(vector, trims[n].factor, count, values(n));
        }
      }
      double change[kBlock], agreeing[kBlock];
      if (elects) {
        elect(scratch_.values.data(), ones.data(), weights.data(), n_experts(), spec_.election, count, change, agreeing);
        if (spec_.normalise) divide(agreeing, count, change);
      } else {
        add_up(scratch_.values.data(), n_experts(), count, change);
      }
      store(start, count, change, elects ? 1 : spec_.divisor, spec_.factor, output, out);
    });
  });
}

template <class Real>
void SelectChunk<Real>::write_energy(const LocalEdge& edge, const std::vector<double>& shares, Dtype output, void* out) {
  for_blocks(0, inputs_.count, [&](std::int64_t start, int count) {
    double change[kBlock], divisors[kBlock];
    select(edge, start, count);
    elect(scratch_.values.data(), shares.data(), shares.data(), n_experts(), spec_.election, count, change,
          divisors);
    divide(divisors, count, change);
    store(start, count, change, 1, 1, output, out);
  });
}

template class SelectChunk<float>;
template class SelectChunk<double>;

}  // namespace m2m
