#include "stream/rider_pass.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace m2m {

// A run of elements that both passes can take.
std::int64_t RiderPass::span(std::int64_t tensor) const {
  const std::int64_t first = writer_.span(tensor), second = rider_.span(tensor);
  if (first == 0 || second == 0) return std::max(first, second);
  const std::int64_t times = second / std::gcd(first, second);
  const std::int64_t count = plan_.tensors[tensor].count;
  return times > count / first ? std::max<std::int64_t>(count, 1) : first * times;
}

void RiderPass::run(const ChunkView& chunk) {
  run_wanted(writer_, chunk);
  run_wanted(rider_, chunk);
}

void RiderPass::run_wanted(StreamPass& pass, const ChunkView& chunk) {
  std::vector<int> models;
  std::vector<const void*> inputs;
  for (int i = 0; i < chunk.n_inputs; ++i) {
    if (!pass.wants(chunk.tensor, chunk.models[i])) continue;
    models.push_back(chunk.models[i]);
    inputs.push_back(chunk.inputs[i]);
  }
  ChunkView wanted = chunk;
  wanted.n_inputs = static_cast<int>(models.size());
  wanted.models = models.data();
  wanted.inputs = inputs.data();
  pass.run(wanted);
}

}  // namespace m2m
