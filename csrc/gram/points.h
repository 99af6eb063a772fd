// A chunk's inputs as points in float64: task vectors, or the inputs themselves.
#pragma once

#include <cstdint>
#include <vector>

#include "gram/kernel.h"
#include "gram/layout.h"
#include "stream/pass.h"

namespace m2m {

// One block of every point, twice.
struct StagedPoints {
  std::vector<PointBlock<float>> narrow;  // [K] in the type that inputs are summed in; not for float64
  std::vector<PointBlock<double>> wide;   // [K]
};

// Puts elements [from, from + count) of every point of `chunk` into `points`, from place `before` on; the places before and
// after them, up to the next multiple of kPadding, are zero (a zero term changes no ordered sum). The chunk holds the tensor's
// inputs `models`, which is where the points are looked up. before + count <= kGramBlock.
void stage_points(const ChunkView& chunk, const GramTensor& tensor, std::int64_t from, int count, int before,
                  StagedPoints& points);

}  // namespace m2m
