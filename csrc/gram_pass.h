// The pass that looks at inner products: of whole tensors, or of their rows or columns; if wanted with signs and largest values.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "gram_layout.h"
#include "stream_pass.h"

namespace m2m {

// What statistics know of the points of one tensor besides their inner products. Pairs as in a lower triangle.
struct SignCounts {
  std::vector<double> largest;         // [K] largest |value|
  std::vector<std::int64_t> same;      // [pairs] elements where both are positive or both negative
  std::vector<std::int64_t> opposite;  // [pairs] elements where one is positive and one negative

  explicit SignCounts(const GramTensor& tensor)
      : largest(tensor.n_points), same(tensor.pairs()), opposite(tensor.pairs()) {}
  void add(const double* const* points, int n_points, int count);
  void add(const SignCounts& other);
};

class GramPass final : public StreamPass {
 public:
  // `tensors`: one for each tensor of the plan from `first` on.
  GramPass(const StreamPlan& plan, std::int64_t first, std::vector<GramTensor> tensors, bool counts_signs);

  bool wants(std::int64_t tensor, int n) const override;
  bool writes() const override { return false; }
  std::int64_t span(std::int64_t tensor) const override;
  void start(int workers) override;
  void run(const ChunkView& chunk) override;

  std::vector<double> triangles(std::int64_t tensor) const { return sums_[tensor - first_].triangles(); }
  const SignCounts& signs(std::int64_t tensor) const { return signs_[tensor - first_]; }
  bool holds(std::int64_t tensor) const { return tensor >= first_ && tensor - first_ < std::int64_t(tensors_.size()); }

 private:
  // A run of elements of one vector, or, with columns, of one row.
  struct Piece {
    std::int64_t from;      // first element, counted from the chunk's first
    std::int64_t count;
    std::int64_t vector;    // the first one
    std::int64_t position;  // in the vector
  };
  // What one thread holds while it goes through a span.
  struct Worker {
    std::vector<double> staged;         // [K, kGramBlock]
    std::vector<const double*> points;  // [K]
    std::vector<double> lanes;          // [pairs, 16]; with columns [16, pairs, vectors]
  };

  const GramTensor& layout(std::int64_t tensor) const { return tensors_[tensor - first_]; }
  Piece piece_at(const ChunkView& chunk, std::int64_t done) const;
  void add_piece(const ChunkView& chunk, const Piece& piece, Worker& worker);
  void add_row(const ChunkView& chunk, const Piece& piece, Worker& worker);
  void fold_piece(std::int64_t tensor, const Piece& piece, const Worker& worker);
  void fold_columns(std::int64_t tensor, std::int64_t segment, Worker& worker);

  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<GramTensor> tensors_;
  const bool counts_signs_;
  std::vector<SegmentSums> sums_;
  std::vector<SignCounts> signs_;
  std::mutex mutex_;  // guards signs_
  std::vector<Worker> workers_;
};

}  // namespace m2m
