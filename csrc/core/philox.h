// Random words that depend on a key and an element's index alone: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). Element i takes word i mod 4 of the block with counter (i div 4, as 64 bits; 0; 0).
#pragma once

#include <cstdint>

namespace m2m {

struct PhiloxKey {
  std::uint32_t low;
  std::uint32_t high;
};

constexpr int kPhiloxLanes = 16;  // blocks at a time: independent of each other, so that none waits for another

// How many words `draw_words` may write for `count` elements.
constexpr int philox_room(int count) { return (count + 3) / (4 * kPhiloxLanes) * (4 * kPhiloxLanes) + 4 * kPhiloxLanes; }

// Draws for elements [first, first + count) into `room`, which holds philox_room(count) words; returns where the first one is.
const std::uint32_t* draw_words(PhiloxKey key, std::int64_t first, int count, std::uint32_t* room);

}  // namespace m2m
