// The pass that looks at inner products: of whole tensors, or of their rows or columns; if wanted with signs, largest values
// and squares of products.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "gram/layout.h"
#include "gram/points.h"
#include "gram/signs.h"
#include "stream/pass.h"

namespace m2m {

// What is wanted besides inner products; only of tensors that are one vector.
struct GramExtras {
  bool signs = false;    // SignCounts of the points
  bool squares = false;  // inner products of the points' squares, element by element
};

class GramPass final : public StreamPass {
 public:
  // `tensors`: one for each tensor of the plan from `first` on.
  GramPass(const StreamPlan& plan, std::int64_t first, std::vector<GramTensor> tensors, GramExtras extras);

  bool wants(std::int64_t tensor, int n) const override;
  bool writes() const override { return false; }
  std::int64_t span(std::int64_t tensor) const override;
  void start(int workers) override;
  void run(const ChunkView& chunk) override;

  std::vector<double> triangles(std::int64_t tensor) const { return sums_[tensor - first_].triangles(); }
  std::vector<double> square_triangles(std::int64_t tensor) const { return square_sums_[tensor - first_].triangles(); }
  const SignCounts& signs(std::int64_t tensor) const { return signs_[tensor - first_]; }
  bool gathers_squares() const { return extras_.squares; }
  bool holds(std::int64_t tensor) const { return tensor >= first_ && tensor - first_ < std::int64_t(tensors_.size()); }

 private:
  // A run of elements of one vector, or, with columns, of one row.
  struct Piece {
    std::int64_t from;  // first element, counted from the chunk's first
    std::int64_t count;
    std::int64_t vector;    // the first one
    std::int64_t position;  // in the vector
  };
  // What one thread holds while it goes through a span.
  struct Worker {
    StagedPoints points;
    std::vector<double> lanes;         // [pairs, 16]; with columns [16, pairs, vectors]
    std::vector<double> square_lanes;  // [pairs, 16]
  };

  const GramTensor& layout(std::int64_t tensor) const { return tensors_[tensor - first_]; }
  Piece piece_at(const ChunkView& chunk, std::int64_t done) const;
  void add_block(const ChunkView& chunk, std::int64_t from, int count, int before, Worker& worker, SignCounts& signs);
  void add_piece(const ChunkView& chunk, const Piece& piece, Worker& worker);
  void add_row(const ChunkView& chunk, const Piece& piece, Worker& worker);
  void fold_piece(std::int64_t tensor, const Piece& piece, const Worker& worker);
  void fold_columns(std::int64_t tensor, std::int64_t segment, Worker& worker);

  const StreamPlan& plan_;
  const std::int64_t first_;
  const std::vector<GramTensor> tensors_;
  const GramExtras extras_;
  std::vector<SegmentSums> sums_;
  std::vector<SegmentSums> square_sums_;
  std::vector<SignCounts> signs_;
  std::mutex mutex_;  // guards signs_
  std::vector<Worker> workers_;
};

}  // namespace m2m
