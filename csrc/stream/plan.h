// A streamed merge as pure data: which bytes of which files become which bytes of which others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace m2m {

// What stands in place of a file's number where an input is formed instead of read.
constexpr int product_input = -1;   // a product of factors
constexpr int adapted_input = -2;   // a tensor with what an adapter adds
constexpr int gathered_input = -3;  // rows from several places
constexpr int constant_rows = -4;   // of a gathered input: one row in memory, however often it is there

// Where a tensor starts in a file.
struct Place {
  int file;             // index into input_files or output_files, or one of the numbers above
  std::int64_t offset;  // bytes from the start of the file; number of what is formed
  Dtype dtype;          // of a merged tensor; without meaning for a copied one; f64 for a product

  bool operator==(const Place& other) const { return file == other.file && offset == other.offset && dtype == other.dtype; }
};

// One factor of a product, as it lies in a file: its first element, and how many elements further the next row and the next
// column are. Rows and columns may be exchanged, or lie among those of other factors.
struct LoraFactor {
  Place place;
  std::int64_t row_step;
  std::int64_t column_step;
};

enum class LoraSide : int { left, right, magnitudes };

// An input that is formed from two factors, in float64 (see lora/product.h).
struct LoraProduct {
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t rank;
  LoraFactor left;   // [rows, rank]
  LoraFactor right;  // [rank, columns]

  // Of both factors in memory.
  Dtype storage() const { return left.place.dtype == Dtype::f64 || right.place.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32; }
};

// Lengths that rows or columns are given (DoRA): one a row, or one a column.
struct Magnitudes {
  bool given;
  bool by_column;
  Place place;
};

// An expert that was never written down: base + scale · added, summed in float64; its rows or columns scaled to their
// magnitudes, if these are given, which takes a product; rounded once to its place's dtype.
struct AdaptedInput {
  Place base;
  Place added;  // read, or a product
  double scale;
  Magnitudes magnitudes;
};

// From row `first` on, up to the next run, a gathered input's rows are those of a source, from its `row` on. With a negative
// source it is one row: the mean of that many terms, from number `row` on.
struct RowRun {
  std::int32_t first;
  std::int32_t source;
  std::int32_t row;
};

// A row that takes part in a mean.
struct RowTerm {
  std::int32_t source;
  std::int32_t row;
};

// An input whose rows lie in several places, in the order in which they are wanted: embeddings under another vocabulary.
// The type of its place is one that all sources widen to exactly; means are summed in float64 and rounded to it once.
struct GatheredInput {
  std::int64_t width;      // elements of a row
  std::int64_t first_run;  // where its runs start in `row_runs`, by their first rows
  std::int64_t n_runs;
  std::int64_t first_source;  // where its sources start in `row_sources`
  std::int64_t n_sources;
};

enum class Rule : int {
  merge,  // a pass makes the outputs from the inputs
  copy,   // the inputs must be equal, byte by byte; the first is copied
};

struct PlannedTensor {
  Rule rule;
  std::int64_t count;        // elements of a merged tensor, bytes of a copied one
  int n_inputs;              // N, of this tensor
  std::int64_t first_input;  // where its N places start in `inputs`
};

// Axes: T tensors, M outputs (candidates), N inputs (experts; their number may differ from tensor to tensor).
struct StreamPlan {
  int n_outputs;
  std::vector<std::string> input_files;
  std::vector<std::string> output_files;  // exist already, at full length
  std::vector<PlannedTensor> tensors;     // [T] in disk order
  std::vector<Place> inputs;              // [T, its N]
  std::vector<LoraProduct> products;      // what is formed from factors
  std::vector<AdaptedInput> adapted;      // what is formed from a tensor and what an adapter adds
  std::vector<Place> outputs;             // [T, M]
  std::vector<GatheredInput> gathered;    // what is gathered row by row
  std::vector<Place> row_sources;         // what their rows are taken from
  std::vector<RowRun> row_runs;
  std::vector<RowTerm> row_terms;
  std::vector<std::uint8_t> constants;  // rows that stand for themselves

  const Place& input(std::int64_t tensor, int n) const { return inputs[tensors[tensor].first_input + n]; }
  const Place& output(std::int64_t tensor, int m) const { return outputs[tensor * n_outputs + m]; }
  const AdaptedInput* adapted_at(std::int64_t tensor, int n) const {  // null for other inputs
    const Place& place = input(tensor, n);
    return place.file == adapted_input ? &adapted[place.offset] : nullptr;
  }
  const GatheredInput* gathered_at(std::int64_t tensor, int n) const {  // null for other inputs
    const Place& place = input(tensor, n);
    return place.file == gathered_input ? &gathered[place.offset] : nullptr;
  }
  const LoraProduct* product(std::int64_t tensor, int n) const {  // null for an input that needs none
    const AdaptedInput* own = adapted_at(tensor, n);
    const Place& place = own != nullptr ? own->added : input(tensor, n);
    return place.file == product_input ? &products[place.offset] : nullptr;
  }
  bool has_products(std::int64_t tensor) const {
    for (int n = 0; n < tensors[tensor].n_inputs; ++n)
      if (product(tensor, n) != nullptr) return true;
    return false;
  }
  bool has_adapted(std::int64_t tensor) const {
    for (int n = 0; n < tensors[tensor].n_inputs; ++n)
      if (adapted_at(tensor, n) != nullptr) return true;
    return false;
  }
  int most_inputs() const {
    int most = 0;
    for (const PlannedTensor& tensor : tensors) most = std::max(most, tensor.n_inputs);
    return most;
  }

  // The one type that passes see a tensor's inputs in: every input's own type widens to it exactly.
  Dtype common_dtype(std::int64_t tensor) const {
    const Dtype first = input(tensor, 0).dtype;
    bool equal = true, any_double = false;
    for (int n = 0; n < tensors[tensor].n_inputs; ++n) {
      const Dtype dtype = input(tensor, n).dtype;
      equal = equal && dtype == first;
      any_double = any_double || dtype == Dtype::f64;
    }
    return equal ? first : any_double ? Dtype::f64 : Dtype::f32;
  }
};

}  // namespace m2m
