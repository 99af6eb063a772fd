// A streamed merge as pure data: which bytes of which files become which bytes of which others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "dtype.h"

namespace m2m {

// Where a tensor starts in a file.
struct Place {
  int file;             // index into input_files or output_files
  std::int64_t offset;  // bytes from the start of the file
  Dtype dtype;          // of a merged tensor; without meaning for a copied one
};

enum class Rule : int {
  merge,  // weighted sums of the inputs
  copy,   // the inputs must be equal, byte by byte; the first is copied
};

struct PlannedTensor {
  Rule rule;
  std::int64_t count;  // elements of a merged tensor, bytes of a copied one
  int block;           // index of its weights; without meaning for a copied one
  int n_inputs;        // N, of this tensor
  std::int64_t first_input;  // where its N places start in `inputs`
};

// Weights that tensors refer to. [M, N]
struct WeightBlock {
  int n_inputs;
  std::int64_t first;  // where they start in `weights`
};

// Axes: T tensors, M outputs (candidates), N inputs (experts; their number may differ from tensor to tensor).
struct StreamPlan {
  int n_outputs;
  std::vector<std::string> input_files;
  std::vector<std::string> output_files;  // exist already, at full length
  std::vector<PlannedTensor> tensors;     // [T] in disk order
  std::vector<Place> inputs;              // [T, its N]
  std::vector<Place> outputs;             // [T, M]
  std::vector<WeightBlock> blocks;
  std::vector<double> weights;

  const Place& input(std::int64_t tensor, int n) const { return inputs[tensors[tensor].first_input + n]; }
  const Place& output(std::int64_t tensor, int m) const { return outputs[tensor * n_outputs + m]; }
  int most_inputs() const {
    int most = 0;
    for (const PlannedTensor& tensor : tensors) most = std::max(most, tensor.n_inputs);
    return most;
  }
};

}  // namespace m2m
