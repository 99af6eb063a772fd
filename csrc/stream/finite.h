// Refuses NaN and infinities in what a pass was given or has made, by the place where they are.
#pragma once

#include "core/nonfinite.h"
#include "stream/failure.h"
#include "stream/pass.h"

namespace m2m {

inline void require_finite_inputs(const ChunkView& chunk) {
  for (int i = 0; i < chunk.n_inputs; ++i) {
    const std::int64_t at = first_nonfinite(chunk.inputs[i], chunk.dtype, chunk.count);
    if (at != chunk.count) throw StreamFailure(FailureKind::nonfinite, chunk.tensor, chunk.models[i], chunk.first + at);
  }
}

// For passes in which a used input that is NaN or infinite makes the result so: it is enough to look at the results, of which
// there are usually fewer, and to look for the culprit only when one is bad.
inline void require_finite_outputs(const ChunkView& chunk, const StreamPlan& plan) {
  for (int m = 0; m < plan.n_outputs; ++m) {
    const std::int64_t bad = first_nonfinite(chunk.outputs[m], plan.output(chunk.tensor, m).dtype, chunk.count);
    if (bad == chunk.count) continue;
    require_finite_inputs(chunk);
    throw StreamFailure(FailureKind::overflow, chunk.tensor, m, chunk.first + bad);
  }
}

}  // namespace m2m
