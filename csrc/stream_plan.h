// A streamed merge as pure data: which bytes of which files become which bytes of which others.
#pragma once

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
};

// Axes: T tensors, M outputs (candidates), N inputs (experts), B blocks of weights.
struct StreamPlan {
  int n_inputs;
  int n_outputs;
  std::vector<std::string> input_files;
  std::vector<std::string> output_files;  // exist already, at full length
  std::vector<PlannedTensor> tensors;     // [T] in disk order
  std::vector<Place> inputs;              // [T, N]
  std::vector<Place> outputs;             // [T, M]
  std::vector<double> weights;            // [B, M, N]

  const Place& input(std::int64_t tensor, int n) const { return inputs[tensor * n_inputs + n]; }
  const Place& output(std::int64_t tensor, int m) const { return outputs[tensor * n_outputs + m]; }
  const double* block(int index) const {
    return weights.data() + static_cast<std::int64_t>(index) * n_outputs * n_inputs;
  }
};

}  // namespace m2m
