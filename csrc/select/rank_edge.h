// The edge of a selection over a stream. Keys order like the magnitudes; of equal keys the lower index is the larger element.
#pragma once

#include <cstdint>
#include <exception>
#include <vector>

namespace m2m {

// An element belongs to the selection if its key is larger, or equal and among the first `quota` elements with this key from
// index `from` on (those before `from` belong to it).
struct RankEdge {
  std::uint64_t key;
  std::int64_t from;
  std::int64_t quota;

  static constexpr std::int64_t all = INT64_MAX;
  static constexpr RankEdge everything() { return {0, all, 0}; }
  static constexpr RankEdge nothing() { return {UINT64_MAX, 0, 0}; }
};

// How many keys of the chunk that begins at `first` are the edge's.
struct ChunkShare {
  std::int64_t first;
  std::int64_t equal;
};

// The edge that lets in the first `room` of the elements with its key (at least one, and no more than there are).
RankEdge edge_at(std::uint64_t key, std::int64_t room, std::vector<ChunkShare> shares);

// A look met other elements than the looks before it: the file was written to meanwhile.
struct LooksDiffer : std::exception {
  const char* what() const noexcept override { return "two looks at a tensor met different elements"; }
};

}  // namespace m2m
