#include "select/chunk.h"

#include <algorithm>
#include <cmath>

namespace m2m {

namespace {

// The edge as a block that starts at `start` sees it.
LocalEdge shifted(const LocalEdge& edge, std::int64_t start) { return {edge.key, edge.cut - start}; }

// Softmax plus a little that keeps its logarithm finite.
void soften(double* row, std::int64_t columns) {
  const double largest = *std::max_element(row, row + columns);
  double sum = 0;
  for (std::int64_t i = 0; i < columns; ++i) sum += row[i] = std::exp(row[i] - largest);
  for (std::int64_t i = 0; i < columns; ++i) row[i] = row[i] / sum + 1e-8;
}

// Of p from q, which become their softmaxes.
double divergence(double* p, double* q, std::int64_t columns) {
  soften(p, columns);
  soften(q, columns);
  double sum = 0;
  for (std::int64_t i = 0; i < columns; ++i) sum += p[i] * std::log(p[i] / q[i]);
  return sum;
}

}  // namespace

template <class Real>
template <class Visit>
void SelectChunk<Real>::for_blocks(std::int64_t begin, std::int64_t end, Visit&& visit) {
  for (std::int64_t start = begin; start < end; start += kSelectBlock)
    visit(start, static_cast<int>(std::min<std::int64_t>(kSelectBlock, end - start)));
}

// ---- task vectors and keys ----

template <class Real>
void SelectChunk<Real>::find_vector(int expert, std::int64_t start, int count) {
  task_vector(inputs_.dtype, inputs_.base, inputs_.experts[expert], start, count, vector(expert));
}

template <class Real>
void SelectChunk<Real>::find_vectors(std::int64_t start, int count) {
  for (int n = 0; n < n_experts(); ++n) find_vector(n, start, count);
}

template <class Real>
void SelectChunk<Real>::find_keys(int expert, std::int64_t start, int count, Key* keys) {
  magnitude_keys(inputs_.dtype, inputs_.base, inputs_.experts[expert], start, count, keys);
}

template <class Real>
void SelectChunk<Real>::variances(std::int64_t start, int count, std::uint64_t* keys) {
  find_vectors(start, count);
  variance_keys(scratch_.vectors.data(), n_experts(), count, keys);
}

template <class Real>
void SelectChunk<Real>::importances(const double* divergences, std::int64_t start, int count, std::uint64_t* keys) {
  double values[kSelectBlock];
  find_vector(0, start, count);
  magnitudes(vector(0), count, values);
  for (int i = 0; i < count; ++i) values[i] *= divergences[(start + i) / spec_.row];
  signed_keys(values, count, keys);
}

template <class Real>
void SelectChunk<Real>::wide_block(const void* input, std::int64_t start, int count, double* wide) {
  Real block[kSelectBlock];
  widen_block(inputs_.dtype, input, start, count, block);
  as_doubles(block, count, wide);
}

template <class Real>
void SelectChunk<Real>::measure_divergences(double* divergences) {
  for (std::vector<double>& row : scratch_.rows) row.resize(spec_.row);
  double* rows[] = {scratch_.rows[0].data(), scratch_.rows[1].data()};
  for (std::int64_t start = 0; start < inputs_.count; start += spec_.row) {
    for_blocks(0, spec_.row, [&](std::int64_t place, int count) {
      wide_block(inputs_.base, start + place, count, rows[0] + place);
      wide_block(inputs_.experts[0], start + place, count, rows[1] + place);
    });
    divergences[start / spec_.row] = divergence(rows[1], rows[0], spec_.row);
  }
}

// ---- looking for ranks ----

template <class Real>
template <class AnyKey, class Fill>
BinRange SelectChunk<Real>::count_keys(int key_bits, const RankDigit& digit, Fill&& fill) {
  BinRange range;
  const bool all = digit.shift + digit.bits == key_bits;
  for_blocks(0, inputs_.count, [&](std::int64_t start, int count) {
    AnyKey keys[kSelectBlock];
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
                         [&](std::int64_t start, int count, Key* keys) { find_keys(expert, start, count, keys); });
}

template <class Real>
BinRange SelectChunk<Real>::count_variances(const RankDigit& digit) {
  return count_keys<std::uint64_t>(variance_bits, digit,
                                   [&](std::int64_t start, int count, std::uint64_t* keys) { variances(start, count, keys); });
}

template <class Real>
BinRange SelectChunk<Real>::count_importances(const double* divergences, const RankDigit& digit) {
  return count_keys<std::uint64_t>(importance_bits, digit, [&](std::int64_t start, int count, std::uint64_t* keys) {
    importances(divergences, start, count, keys);
  });
}

template <class Real>
template <class AnyKey, class Fill>
void SelectChunk<Real>::gather_keys(int key_bits, const RankDigit& digit, Fill&& fill) {
  std::vector<std::uint64_t>& gathered = scratch_.gathered;
  gathered.clear();
  for_blocks(0, inputs_.count, [&](std::int64_t start, int count) {
    AnyKey keys[kSelectBlock];
    std::uint64_t found[kSelectBlock];
    fill(start, count, keys);
    if (digit.shift == key_bits) {  // no key is left out
      gathered.insert(gathered.end(), keys, keys + count);
    } else {
      gathered.insert(gathered.end(), found, found + find_some(keys, count, digit, found));
    }
  });
}

template <class Real>
void SelectChunk<Real>::gather_magnitudes(int expert, const RankDigit& digit) {
  gather_keys<Key>(magnitude_bits, digit,
                   [&](std::int64_t start, int count, Key* keys) { find_keys(expert, start, count, keys); });
}

template <class Real>
void SelectChunk<Real>::gather_variances(const RankDigit& digit) {
  gather_keys<std::uint64_t>(variance_bits, digit,
                             [&](std::int64_t start, int count, std::uint64_t* keys) { variances(start, count, keys); });
}

template <class Real>
void SelectChunk<Real>::gather_importances(const double* divergences, const RankDigit& digit) {
  gather_keys<std::uint64_t>(importance_bits, digit, [&](std::int64_t start, int count, std::uint64_t* keys) {
    importances(divergences, start, count, keys);
  });
}

template <class Real>
template <class AnyKey, class Fill>
void SelectChunk<Real>::bracket_keys(Fill&& fill) {
  for_blocks(0, inputs_.count, [&](std::int64_t start, int count) {
    AnyKey keys[kSelectBlock];
    std::uint64_t found[kSelectBlock];
    fill(start, count, keys);
    for (BracketLook& look : scratch_.brackets)
      look.between.insert(look.between.end(), found, found + find_between(keys, count, look.bracket, look.counts, found));
  });
}

template <class Real>
void SelectChunk<Real>::bracket_magnitudes(int expert) {
  bracket_keys<Key>([&](std::int64_t start, int count, Key* keys) { find_keys(expert, start, count, keys); });
}

template <class Real>
void SelectChunk<Real>::bracket_variances() {
  bracket_keys<std::uint64_t>([&](std::int64_t start, int count, std::uint64_t* keys) { variances(start, count, keys); });
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
    AnyKey keys[kSelectBlock];
    fill(start, count, keys);
    for (int i = 0; i < count && left > 0; ++i)
      if (keys[i] == static_cast<AnyKey>(edge.key) && --left == 0) cut = start + i + 1;
  });
  if (left > 0) throw LooksDiffer();  // the looks counted them here
  return {edge.key, cut};
}

template <class Real>
LocalEdge SelectChunk<Real>::magnitude_edge(int expert, const RankEdge& edge) {
  return local_edge<Key>(edge, [&](std::int64_t start, int count, Key* keys) { find_keys(expert, start, count, keys); });
}

template <class Real>
LocalEdge SelectChunk<Real>::variance_edge(const RankEdge& edge) {
  return local_edge<std::uint64_t>(edge,
                                   [&](std::int64_t start, int count, std::uint64_t* keys) { variances(start, count, keys); });
}

// ---- trimming ----

// Calls `visit(begin, end)` row by row once ranks in the row are known, or for the whole chunk if no expert needs them.
template <class Real>
template <class Visit>
void SelectChunk<Real>::for_rows(Visit&& visit) {
  if (!spec_.ranks_rows()) return visit(0, inputs_.count);
  scratch_.keys.resize(spec_.row);
  scratch_.ranks.resize(spec_.experts.size() * spec_.row);
  for (std::int64_t start = 0; start < inputs_.count; start += spec_.row) {
    for (int n = 0; n < n_experts(); ++n)
      if (spec_.experts[n].trim == Trim::ranked && has(n)) rank_row(n, start);
    visit(start, start + spec_.row);
  }
}

template <class Real>
void SelectChunk<Real>::rank_row(int expert, std::int64_t start) {
  Key* keys = scratch_.keys.data();
  for_blocks(0, spec_.row, [&](std::int64_t place, int count) { find_keys(expert, start + place, count, keys + place); });
  scratch_.ranker.rank(keys, spec_.row, scratch_.ranks.data() + expert * spec_.row);
}

// One expert's task vector, zero where it is dropped. `place` is the block's in its row.
template <class Real>
void SelectChunk<Real>::trim(int expert, const ChunkTrim& trim, std::int64_t start, std::int64_t place, int count) {
  const ExpertSpec& spec = spec_.experts[expert];
  alignas(64) std::uint32_t room[philox_room(kSelectBlock)];
  const std::uint32_t* words = room;
  find_vector(expert, start, count);
  if (spec.trim == Trim::draw || spec.trim == Trim::ranked) words = draw_words(spec.key, inputs_.first + start, count, room);
  if (spec.trim == Trim::draw) keep_drawn(words, static_cast<std::uint32_t>(spec.keep_below), count, vector(expert));
  if (spec.trim == Trim::largest) keep_between(shifted(trim.outer, start), shifted(trim.inner, start), count, vector(expert));
  if (spec.trim != Trim::ranked) return;
  const std::uint32_t* ranks = scratch_.ranks.data() + expert * spec_.row + place;
  ranked_probabilities(ranks, spec, spec_.row, count, scales(expert));
  keep_ranked(words, scales(expert), count, vector(expert));
  if (spec.inverse_scale) invert(count, scales(expert));
}

// The selected elements of all task vectors, zero elsewhere.
template <class Real>
void SelectChunk<Real>::select(const LocalEdge& edge, std::int64_t start, int count) {
  if (spec_.share == 1) return find_vectors(start, count);
  std::uint64_t keys[kSelectBlock];
  Key mask[kSelectBlock];
  variances(start, count, keys);
  mask_inside(keys, shifted(edge, start), count, mask);
  for (int n = 0; n < n_experts(); ++n) keep_masked(mask, count, vector(n));
}

// ---- looking for norms and energies ----

template <class Real>
void SelectChunk<Real>::add_norms(const std::vector<ChunkTrim>& trims, std::vector<OrderedSum::Cursor>& sums) {
  for_rows([&](std::int64_t begin, std::int64_t end) {
    for_blocks(begin, end, [&](std::int64_t start, int count) {
      auto sum = sums.begin();
      for (int n = 0; n < n_experts(); ++n) {
        if (!spec_.experts[n].keeps_norm) continue;
        double sizes[kSelectBlock];
        find_vector(n, start, count);
        magnitudes(vector(n), count, sizes);
        (sum++)->add(sizes, count);
        trim(n, trims[n], start, start - begin, count);
        magnitudes(vector(n), count, sizes);
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
      double terms[kSelectBlock];
      squares(vector(n), count, terms);
      sums[n].add(terms, count);
    }
  });
}

// ---- writing ----

template <class Real>
void SelectChunk<Real>::write_fused(const double* divergences, std::uint64_t least, Dtype output, void* const* outs) {
  for_blocks(0, inputs_.count, [&](std::int64_t start, int count) {
    std::uint64_t keys[kSelectBlock];
    double chosen[kSelectBlock], expert[kSelectBlock];
    importances(divergences, start, count, keys);
    wide_block(inputs_.base, start, count, chosen);
    wide_block(inputs_.experts[0], start, count, expert);
    choose(keys, least, expert, count, chosen);
    for (std::size_t m = 0; m < spec_.outputs.size(); ++m) store_block(chosen, count, output, outs[m], start);
  });
}

template <class Real>
void SelectChunk<Real>::store(std::int64_t start, int count, const double* change, double divisor, double factor, Dtype output,
                              void* out) {
  Real base[kSelectBlock];
  widen_block(inputs_.dtype, inputs_.base, start, count, base);
  add_to_base(base, change, divisor, factor, count, output, out, start);
}

// How the experts' trimmed task vectors enter an output; those that are not read are zero.
template <class Real>
std::vector<ExpertBlock<Real>> SelectChunk<Real>::blocks_of(const OutputSpec& output, const std::vector<double>& scales_of) {
  std::vector<ExpertBlock<Real>> blocks;
  for (int n = 0; n < n_experts(); ++n) {
    if (!has(n)) std::fill_n(vector(n), kSelectBlock, Real{0});
    const bool each = has(n) && spec_.experts[n].inverse_scale;
    const double factor = each ? output.weights[n] : output.weights[n] * scales_of[n];
    blocks.push_back({vector(n), each ? scales(n) : nullptr, factor, 1, output.weights[n]});
  }
  return blocks;
}

// The change of the base model by the trimmed task vectors of one block.
template <class Real>
void SelectChunk<Real>::combine(const std::vector<ExpertBlock<Real>>& blocks, const OutputSpec& output, int count,
                                double* change) {
  if (spec_.combine == Combine::sum) return add_up(blocks.data(), n_experts(), count, change);
  // The sign of a zero is that of a divisor, which can only be negative if a weight is.
  const Election election{spec_.tie_is_plus, spec_.zeros_vote || output.any_negative(), spec_.normalise};
  elect(blocks.data(), n_experts(), election, count, change);
}

template <class Real>
void SelectChunk<Real>::write_trimmed(const std::vector<ChunkTrim>& trims, const std::vector<double>& scales, Dtype output,
                                      void* const* outs) {
  std::vector<std::vector<ExpertBlock<Real>>> blocks;
  for (const OutputSpec& candidate : spec_.outputs) blocks.push_back(blocks_of(candidate, scales));
  for_rows([&](std::int64_t begin, std::int64_t end) {
    for_blocks(begin, end, [&](std::int64_t start, int count) {
      for (int n = 0; n < n_experts(); ++n)
        if (has(n)) trim(n, trims[n], start, start - begin, count);
      for (std::size_t m = 0; m < spec_.outputs.size(); ++m) {
        double change[kSelectBlock];
        combine(blocks[m], spec_.outputs[m], count, change);
        store(start, count, change, spec_.outputs[m].divisor, spec_.factor, output, outs[m]);
      }
    });
  });
}

template <class Real>
void SelectChunk<Real>::write_energy(const LocalEdge& edge, const std::vector<double>& shares, Dtype output,
                                     void* const* outs) {
  std::vector<ExpertBlock<Real>> blocks;
  for (int n = 0; n < n_experts(); ++n) blocks.push_back({vector(n), nullptr, 1, shares[n], shares[n]});
  for_blocks(0, inputs_.count, [&](std::int64_t start, int count) {
    double change[kSelectBlock];
    select(edge, start, count);
    elect(blocks.data(), n_experts(), {spec_.tie_is_plus, spec_.zeros_vote, true}, count, change);
    for (std::size_t m = 0; m < spec_.outputs.size(); ++m) store(start, count, change, 1, 1, output, outs[m]);
  });
}

template class SelectChunk<float>;
template class SelectChunk<double>;

}  // namespace m2m
