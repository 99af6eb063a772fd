// A chunk's inputs as points in float64: task vectors, or the inputs themselves.
#pragma once

#include <cstdint>
#include <vector>

#include "gram/layout.h"
#include "stream/pass.h"

namespace m2m {

// Writes elements [from, from + count) of every point of `chunk` into `points`: point k at points + k * kGramBlock, in which
// the first `before` and the last places up to the next multiple of 16 are zero (a zero term changes no ordered sum). The chunk
// holds the tensor's inputs `models`, which is where the points are looked up. count + before <= kGramBlock.
void stage_points(const ChunkView& chunk, const GramTensor& tensor, std::int64_t from, int count, int before, double* points);

}  // namespace m2m
