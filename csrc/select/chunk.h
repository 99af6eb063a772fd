// One chunk of a tensor under a selecting method: what is looked at in it, and how it is written. No state outlives it.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "core/ordered_sum.h"
#include "select/blocks.h"
#include "select/experts.h"
#include "select/rank.h"
#include "select/rows.h"
#include "select/spec.h"

namespace m2m {

struct SelectInputs {
  Dtype dtype;
  std::int64_t first;  // element of the tensor
  std::int64_t count;
  const void* base;
  std::vector<const void*> experts;  // [N], null: not read, its trimmed task vector counts as zero
};

// Between which edges the elements of an expert are kept in this chunk: inside `outer`, but not inside `inner`.
struct ChunkTrim {
  LocalEdge outer;
  LocalEdge inner;
};

// A bracket, and what a chunk has around it and inside.
struct BracketLook {
  Bracket bracket;
  BracketCounts counts;
  std::vector<std::uint64_t> between;
};

// A worker's memory, grown on first use.
template <class Real>
struct SelectScratch {
  std::vector<std::uint32_t> counts;    // two sets of bins, zero between looks
  std::vector<std::uint64_t> gathered;  // keys of a chunk, in the order of its elements
  std::vector<BracketLook> brackets;
  std::vector<Real> vectors;         // [N, kSelectBlock] trimmed task vectors
  std::vector<double> scales;        // [N, kSelectBlock] of their elements, where each has its own
  std::vector<double> rows[2];       // [row] of the base model and of an expert
  std::vector<double> divergences;   // [rows]
  std::vector<KeyOf<Real>> keys;     // [row]
  std::vector<std::uint32_t> ranks;  // [N, row]
  RowRanker<KeyOf<Real>> ranker;
};

template <class Real>
class SelectChunk {
 public:
  using Key = KeyOf<Real>;

  SelectChunk(const SelectInputs& inputs, const SelectSpec& spec, SelectScratch<Real>& scratch)
      : inputs_(inputs), spec_(spec), scratch_(scratch) {
    scratch.scales.resize(spec.experts.size() * kSelectBlock);
    scratch.vectors.resize(spec.experts.size() * kSelectBlock);
  }

  static constexpr int magnitude_bits = 8 * sizeof(Key) - 1;
  static constexpr int variance_bits = 63;
  static constexpr int importance_bits = 64;

  bool has(std::size_t expert) const { return inputs_.experts[expert] != nullptr; }

  // Counts keys into scratch.counts. divergences: one a row of the chunk.
  BinRange count_magnitudes(int expert, const RankDigit& digit);
  BinRange count_variances(const RankDigit& digit);
  BinRange count_importances(const double* divergences, const RankDigit& digit);

  // The same where keys are gathered, into scratch.gathered.
  void gather_magnitudes(int expert, const RankDigit& digit);
  void gather_variances(const RankDigit& digit);
  void gather_importances(const double* divergences, const RankDigit& digit);

  // The same where brackets are known, into scratch.brackets.
  void bracket_magnitudes(int expert);
  void bracket_variances();

  // Kullback-Leibler divergence of the softmax of every row of the expert from that of the base model.
  void measure_divergences(double* divergences);

  // The edge of a selection, for this chunk. Throws LooksDiffer.
  LocalEdge magnitude_edge(int expert, const RankEdge& edge);
  LocalEdge variance_edge(const RankEdge& edge);

  // Adds |task vector| before and after trimming; two sums for each expert that keeps its norm.
  void add_norms(const std::vector<ChunkTrim>& trims, std::vector<OrderedSum::Cursor>& sums);

  // Adds the squares of the selected elements. sums: [N]
  void add_energies(const LocalEdge& edge, std::vector<OrderedSum::Cursor>& sums);

  // scales, shares: [N]; outs: [M]
  void write_trimmed(const std::vector<ChunkTrim>& trims, const std::vector<double>& scales, Dtype output, void* const* outs);
  void write_fused(const double* divergences, std::uint64_t least, Dtype output, void* const* outs);
  void write_energy(const LocalEdge& edge, const std::vector<double>& shares, Dtype output, void* const* outs);

 private:
  int n_experts() const { return static_cast<int>(spec_.experts.size()); }
  double* scales(int expert) { return scratch_.scales.data() + std::int64_t{expert} * kSelectBlock; }
  Real* vector(int expert) { return scratch_.vectors.data() + std::int64_t{expert} * kSelectBlock; }

  template <class Visit>
  void for_blocks(std::int64_t begin, std::int64_t end, Visit&& visit);
  template <class Visit>
  void for_rows(Visit&& visit);

  void find_vector(int expert, std::int64_t start, int count);
  void find_vectors(std::int64_t start, int count);
  void find_keys(int expert, std::int64_t start, int count, Key* keys);
  void wide_block(const void* input, std::int64_t start, int count, double* wide);
  void variances(std::int64_t start, int count, std::uint64_t* keys);
  void importances(const double* divergences, std::int64_t start, int count, std::uint64_t* keys);
  void select(const LocalEdge& edge, std::int64_t start, int count);
  void rank_row(int expert, std::int64_t start);
  void trim(int expert, const ChunkTrim& trim, std::int64_t start, std::int64_t place, int count);
  std::vector<ExpertBlock<Real>> blocks_of(const OutputSpec& output, const std::vector<double>& scales);
  void combine(const std::vector<ExpertBlock<Real>>& blocks, const OutputSpec& output, int count, double* change);
  void store(std::int64_t start, int count, const double* change, double divisor, double factor, Dtype output, void* out);
  template <class AnyKey, class Fill>
  BinRange count_keys(int key_bits, const RankDigit& digit, Fill&& fill);
  template <class AnyKey, class Fill>
  void gather_keys(int key_bits, const RankDigit& digit, Fill&& fill);
  template <class AnyKey, class Fill>
  void bracket_keys(Fill&& fill);
  template <class AnyKey, class Fill>
  LocalEdge local_edge(const RankEdge& edge, Fill&& fill);

  const SelectInputs& inputs_;
  const SelectSpec& spec_;
  SelectScratch<Real>& scratch_;
};

}  // namespace m2m
