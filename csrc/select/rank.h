// Exact selection over a stream: which elements are the `rank` largest, found by a guess from a sample and one look, or digit
// by digit, in memory that does not depend on how many elements there are.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "select/bracket.h"
#include "select/rank_edge.h"

namespace m2m {

// What one look counts: elements whose key, without its low `shift + bits` bits, is `prefix`; by the `bits` bits above `shift`.
// Where they are few, and one look could not count by all bits left, their keys are gathered and settle it all.
struct RankDigit {
  std::uint64_t prefix;
  int shift;
  int bits;  // none if keys are gathered
  bool gathers = false;

  std::int64_t bins() const { return std::int64_t{1} << bits; }
  bool operator==(const RankDigit& other) const {
    return prefix == other.prefix && shift == other.shift && bits == other.bits && gathers == other.gathers;
  }
};

// What is wanted: a selection's edge, or no more than the key of the element with this rank.
enum class RankGoal { edge, key };

// What looks leave for each other (ranks, counts, keys) is held against what the next one meets before it is relied upon.
class RankSearch {
 public:
  // Among `total` keys of `key_bits` bits, counting by no more than `digit_bits` of them at once; up to `most_keys` keys are
  // gathered (and, for a moment, held twice).
  RankSearch(std::int64_t total, int key_bits, int digit_bits, std::int64_t most_keys, RankGoal goal = RankGoal::edge);

  // Guess the edge from a sample before anything else, holding up to `most_keys` keys.
  void guess_first(std::int64_t most_keys) { guess_ = std::make_unique<BracketSearch>(total_, most_keys); }

  // How many of the largest to select; known before the first look at all elements ends.
  void set_rank(std::int64_t rank);
  bool has_rank() const { return rank_ >= 0; }

  // What the look that comes next is for, if the search is not done.
  enum class Look { sample, bracket, digit };
  Look look() const { return !guess_ ? Look::digit : sampled_ ? Look::bracket : Look::sample; }

  bool done() const { return done_; }
  const RankEdge& edge() const { return edge_; }  // once done
  const RankDigit& digit() const { return digit_; }
  BracketSearch& guess() { return *guess_; }
  // Ends the look at a sample; `rank` is the expected one where it is not known.
  void end_sample(std::int64_t rank);

  void begin_look();
  // Adds one chunk's counts of bin 0 and of the bins [low, high]; chunks may come in any order.
  void add(const std::uint32_t* counts, std::int64_t low, std::int64_t high, std::int64_t chunk_first);
  // The same for gathered keys, which come in the order of their elements. Throws LooksDiffer.
  void gather(const std::vector<std::uint64_t>& keys, std::int64_t chunk_first);
  void end_look();  // throws LooksDiffer

 private:
  struct ChunkCount {
    std::int64_t first;
    std::int64_t in_first_bin;
    std::int64_t in_all_bins;  // or gathered
  };

  void narrow();
  std::int64_t choose_bin();
  void next_digit(std::int64_t bin);
  bool gathering_pays(int bits_left) const;
  void settle();

  RankDigit digit_;
  int digit_bits_;
  std::int64_t most_keys_;
  RankGoal goal_;
  std::int64_t total_;
  std::unique_ptr<BracketSearch> guess_;  // until it is found right or wrong
  bool sampled_ = false;
  std::int64_t rank_ = -1;  // among the elements that take part in the next look
  bool done_ = false;
  RankEdge edge_ = RankEdge::nothing();
  std::int64_t left_;     // how many those are
  std::int64_t met_ = 0;  // how many of them this look has met
  std::vector<std::int64_t> counts_;
  std::vector<std::uint64_t> keys_;  // gathered, chunk by chunk as in chunks_
  std::vector<ChunkCount> chunks_;
};

}  // namespace m2m
