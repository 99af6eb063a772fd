// Looks a plan over before anything runs by it: after that, no number in it can lead a worker out of bounds.
#pragma once

#include "stream/executor.h"
#include "stream/merge_pass.h"
#include "stream/plan.h"

namespace m2m {

// Each throws std::invalid_argument that says which number is wrong. What only the files can tell (that they are there, and
// long enough) is found out while they are read.
void check_plan(const StreamPlan& plan);
void check_weights(const MergeWeights& weights, const StreamPlan& plan);
void check_options(const StreamOptions& options, const StreamPlan& plan);

}  // namespace m2m
