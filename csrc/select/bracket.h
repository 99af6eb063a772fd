// A rank's neighbourhood, guessed from a sample (Floyd and Rivest, "Expected time bounds for selection", CACM 18, 1975): one
// look at all elements counts the keys above it, gathers those inside, and so finds the edge, or sees that the guess was wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "select/rank_edge.h"

namespace m2m {

// Keys that equal one of the ends are counted, those between them are gathered.
struct Bracket {
  std::uint64_t low;
  std::uint64_t high;
};

// What elements lie where; those at one end only are counted as at `high` if both ends are the same.
struct BracketCounts {
  std::int64_t above = 0;
  std::int64_t at_high = 0;
  std::int64_t at_low = 0;
  std::int64_t zeros = 0;
};

// Short pieces, spread evenly: one at the beginning of every `stride` elements. What lies close together is alike, so that many
// short pieces tell more than few long ones.
struct Sample {
  static constexpr std::int64_t piece = 64;
  std::int64_t stride;

  // Of so many elements, so large that the sample and what a bracket of its making gathers cost least together.
  static Sample of(std::int64_t total, std::int64_t most_keys);
  std::int64_t count(std::int64_t total) const;
};

class BracketSearch {
 public:
  // Up to `most_keys` keys are held: first the sample, then what lies in the bracket.
  BracketSearch(std::int64_t total, std::int64_t most_keys) : total_(total), most_keys_(most_keys) {}

  // Keys of one piece.
  void add_sample(const std::vector<std::uint64_t>& keys);
  // Ends the sample: the bracket of the element that is the rank-th largest of all. False if it would not be narrow enough.
  bool choose(std::int64_t rank);
  const Bracket& bracket() const { return bracket_; }

  // One chunk of the look: its counts, and the keys between the ends. Chunks may come in any order.
  void add(const BracketCounts& counts, const std::vector<std::uint64_t>& between, std::int64_t chunk_first);
  // The edge of the `rank` largest elements. False if it lies outside the bracket, or more keys between than can be held.
  bool settle(std::int64_t rank, RankEdge& edge);

 private:
  struct ChunkCount {
    std::int64_t first;
    std::int64_t at_high;
    std::int64_t at_low;
    std::int64_t between;
  };

  double doubt(std::uint64_t key) const;
  std::uint64_t key_of_rank(std::int64_t rank) const;
  std::vector<ChunkShare> shares_of(std::uint64_t key) const;

  const std::int64_t total_;
  const std::int64_t most_keys_;
  Bracket bracket_{};
  std::vector<std::uint64_t> keys_;  // of the sample, piece by piece; then those between, chunk by chunk as in chunks_
  std::vector<ChunkCount> chunks_;
  std::int64_t above_ = 0;
  bool overflowed_ = false;
};

}  // namespace m2m
