// What is known about one tensor under a selecting method: first the ranks that are sought, then the sums, then all there is
// to know to write it. Several workers look at chunks of it at once.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/ordered_sum.h"
#include "select/chunk.h"
#include "select/rank.h"
#include "select/spec.h"

namespace m2m {

// Memory of the searches in one tensor.
struct SearchRoom {
  int digit_bits;               // of the keys, that one look counts by; memory grows as their power of two
  std::int64_t guess_keys = 0;  // that a search which begins with a sample may hold; 0: none does
};

class SelectState {
 public:
  enum class Stage { ranks, sums, ready };

  SelectState(const SelectSpec& spec, std::int64_t total, Dtype dtype, const SearchRoom& room);

  // Is the look that comes next one at a sample? It meets the first `Sample::piece` elements of every `stride`.
  bool samples() const { return sample_.has_value() && !looked_; }
  std::int64_t stride() const { return sample_->stride; }

  Stage stage() const { return stage_; }

  // Does the look that comes next need this expert?
  bool needs(int expert) const;

  // Looks at one chunk; after the tensor's last one the next stage is reached.
  template <class Real>
  void look(const SelectInputs& inputs, SelectScratch<Real>& scratch);

  // Writes one chunk of a tensor that is ready.
  template <class Real>
  void write(const SelectInputs& inputs, SelectScratch<Real>& scratch, Dtype output, void* const* outs);

  // Must chunks be the same in all passes? The cut among equal keys is known by the chunk it lies in.
  bool cuts() const;

 private:
  bool by_energy() const { return spec_.combine == Combine::energy; }
  bool fuses() const { return spec_.combine == Combine::fuse; }
  void choose_sample(std::int64_t guess_keys);
  void seek_ranks(Dtype dtype, int digit_bits);
  void seek_quartiles(int digit_bits);
  void begin_look();
  void end_look();
  void advance();
  void end_sample();
  void end_ranks();
  void end_sums();
  template <class Real>
  void look_for_ranks(const SelectInputs& inputs, SelectScratch<Real>& scratch);
  template <class Real>
  void look_at_sample(SelectChunk<Real>& chunk, std::size_t source, SelectScratch<Real>& scratch);
  template <class Real>
  void look_by_brackets(SelectChunk<Real>& chunk, std::size_t source, std::int64_t first, SelectScratch<Real>& scratch);
  template <class Real>
  void look_by_digits(SelectChunk<Real>& chunk, std::size_t source, const SelectInputs& inputs, const double* rows,
                      SelectScratch<Real>& scratch);
  template <class Real>
  void look_for_sums(const SelectInputs& inputs, SelectScratch<Real>& scratch);
  template <class Real>
  void gather(SelectChunk<Real>& chunk, std::size_t source, const double* divergences, const RankDigit& digit);
  template <class Real>
  BinRange count(SelectChunk<Real>& chunk, std::size_t source, const double* divergences, const RankDigit& digit);
  template <class Real>
  const double* divergences(SelectChunk<Real>& chunk, const SelectInputs& inputs, SelectScratch<Real>& scratch);
  std::uint64_t least_key() const;
  template <class Real>
  LocalEdge selected(SelectChunk<Real>& chunk) const;
  template <class Real>
  std::vector<ChunkTrim> trims(SelectChunk<Real>& chunk) const;

  const SelectSpec& spec_;
  const std::int64_t total_;
  Stage stage_ = Stage::ranks;
  // [N] outer and inner edge of each expert; or [1] of the variance; or [1] quartiles of the importance
  std::vector<std::vector<RankSearch>> searches_;
  std::optional<Sample> sample_;
  std::vector<double> divergences_;                // [rows], none if there are very many
  std::vector<std::unique_ptr<OrderedSum>> sums_;  // norms, two an expert that keeps its own; or energies [N]
  std::vector<double> scales_;                     // [N] of kept elements
  std::vector<double> shares_;                     // [N] of the energy

  std::mutex mutex_;  // guards what follows, and the searches, during a look
  bool begun_ = false;
  std::int64_t left_;  // elements not yet looked at
  std::int64_t zeros_ = 0;
  bool looked_ = false;  // at all chunks once
};

}  // namespace m2m
