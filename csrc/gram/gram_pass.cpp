#include "gram/gram_pass.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "gram/kernel.h"
#include "stream/finite.h"

namespace m2m {

namespace {

void fold_lanes(const std::vector<double>& lanes, int pairs, double* sums) {
  for (int pair = 0; pair < pairs; ++pair) {
    Lanes sum;
    std::copy_n(lanes.data() + std::int64_t{pair} * kLanes, kLanes, sum.sums);
    sums[pair] = sum.folded();
  }
}

bool all_finite(const std::vector<double>& sums) {
  return std::all_of(sums.begin(), sums.end(), [](double sum) { return std::isfinite(sum); });
}

}  // namespace

GramPass::GramPass(const StreamPlan& plan, std::int64_t first, std::vector<GramTensor> tensors, GramExtras extras)
    : plan_(plan), first_(first), tensors_(std::move(tensors)), extras_(extras) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    sums_.emplace_back(tensors_[i], plan.tensors[first + i].count);
    if (extras_.squares) square_sums_.emplace_back(tensors_[i], plan.tensors[first + i].count);
    signs_.emplace_back(tensors_[i]);
  }
}

bool GramPass::wants(std::int64_t tensor, int n) const {
  const GramTensor& wanted = layout(tensor);
  const bool is_point = n >= wanted.first_point && n < wanted.first_point + wanted.n_points;
  return is_point || (wanted.n_points > 0 && n == wanted.origin);
}

// Whole segments; whole rows; all columns together.
std::int64_t GramPass::span(std::int64_t tensor) const {
  const GramTensor& wanted = layout(tensor);
  const std::int64_t count = plan_.tensors[tensor].count;
  if (wanted.n_points == 0 || wanted.length == 0) return 0;
  if (wanted.columns()) return std::min(wanted.length, kSegment) * wanted.stride;
  if (wanted.length == count) return kSegment;
  return std::max<std::int64_t>(1, kSegment / wanted.length) * wanted.length;
}

void GramPass::start(int workers) { workers_.resize(workers); }

void GramPass::run(const ChunkView& chunk) {
  const GramTensor& wanted = layout(chunk.tensor);
  if (wanted.n_points == 0) return;
  if (wanted.columns()) require_finite_inputs(chunk);
  Worker& worker = workers_[chunk.worker];
  for (std::int64_t done = 0; done < chunk.count;) {
    const Piece piece = piece_at(chunk, done);
    wanted.columns() ? add_row(chunk, piece, worker) : add_piece(chunk, piece, worker);
    done += piece.count;
  }
}

// Up to the end of the chunk, the vector (or row) and the segment, whichever comes first.
GramPass::Piece GramPass::piece_at(const ChunkView& chunk, std::int64_t done) const {
  const GramTensor& wanted = layout(chunk.tensor);
  const std::int64_t element = chunk.first + done, left = chunk.count - done;
  if (wanted.columns()) {
    const std::int64_t column = element % wanted.stride;
    return {done, std::min(left, wanted.stride - column), column, element / wanted.stride};
  }
  const std::int64_t position = element % wanted.length;
  const std::int64_t end = std::min(wanted.length, (position / kSegment + 1) * kSegment);
  return {done, std::min(left, end - position), element / wanted.length, position};
}

void GramPass::add_piece(const ChunkView& chunk, const Piece& piece, Worker& worker) {
  const GramTensor& wanted = layout(chunk.tensor);
  if (piece.position % kSegment == 0) {
    worker.lanes.assign(std::size_t(wanted.pairs()) * kLanes, 0.0);
    if (extras_.squares) worker.square_lanes.assign(worker.lanes.size(), 0.0);
  }
  SignCounts signs(wanted);
  for (std::int64_t done = 0; done < piece.count;) {
    const int before = static_cast<int>((piece.position + done) % kLanes);
    const int count = static_cast<int>(std::min<std::int64_t>(kGramBlock - before, piece.count - done));
    add_block(chunk, piece.from + done, count, before, worker, signs);
    done += count;
  }
  if (extras_.signs) {
    std::lock_guard lock(mutex_);
    signs_[chunk.tensor - first_].add(signs);
  }
  // An input that is not finite makes a point's product with itself so: the sums are looked at, not every input.
  if (!all_finite(worker.lanes)) require_finite_inputs(chunk);
  fold_piece(chunk.tensor, piece, worker);
}

// A block that begins within the lanes is filled up with zeros in front.
void GramPass::add_block(const ChunkView& chunk, std::int64_t from, int count, int before, Worker& worker, SignCounts& signs) {
  const GramTensor& wanted = layout(chunk.tensor);
  StagedPoints& points = worker.points;
  stage_points(chunk, wanted, from, count, before, points);
  const bool narrow = chunk.dtype != Dtype::f64;
  const int n = wanted.n_points, padded = (before + count + kLanes - 1) / kLanes * kLanes;
  add_products(narrow ? Products::exact : Products::rounded, points.wide.data(), n, padded, worker.lanes.data());
  if (extras_.squares) add_products(Products::of_squares, points.wide.data(), n, padded, worker.square_lanes.data());
  if (extras_.signs) narrow ? signs.add(points.narrow.data(), n, padded) : signs.add(points.wide.data(), n, padded);
}

// At the end of a segment its sums are known.
void GramPass::fold_piece(std::int64_t tensor, const Piece& piece, const Worker& worker) {
  const GramTensor& wanted = layout(tensor);
  const std::int64_t end = piece.position + piece.count;
  if (end != wanted.length && end % kSegment != 0) return;
  const std::int64_t segment = piece.position / kSegment;
  fold_lanes(worker.lanes, wanted.pairs(), sums_[tensor - first_].at(piece.vector, segment));
  if (extras_.squares) fold_lanes(worker.square_lanes, wanted.pairs(), square_sums_[tensor - first_].at(piece.vector, segment));
}

void GramPass::add_row(const ChunkView& chunk, const Piece& piece, Worker& worker) {
  const GramTensor& wanted = layout(chunk.tensor);
  const std::int64_t room = wanted.pairs() * wanted.stride;
  if (piece.position % kSegment == 0 && piece.vector == 0) worker.lanes.assign(kLanes * room, 0.0);
  double* lanes = worker.lanes.data() + piece.position % kLanes * room + piece.vector;
  for (std::int64_t done = 0; done < piece.count; done += kGramBlock) {
    const int count = static_cast<int>(std::min<std::int64_t>(kGramBlock, piece.count - done));
    stage_points(chunk, wanted, piece.from + done, count, 0, worker.points);
    add_columns(worker.points.wide.data(), wanted.n_points, count, lanes + done, wanted.stride);
  }
  const std::int64_t next = piece.position + 1;
  const bool row_ends = piece.vector + piece.count == wanted.stride;
  if (row_ends && (next == wanted.length || next % kSegment == 0))
    fold_columns(chunk.tensor, piece.position / kSegment, worker);
}

void GramPass::fold_columns(std::int64_t tensor, std::int64_t segment, Worker& worker) {
  const GramTensor& wanted = layout(tensor);
  const std::int64_t room = wanted.pairs() * wanted.stride;
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (std::int64_t i = 0; i < half * room; ++i) worker.lanes[i] += worker.lanes[half * room + i];
  for (std::int64_t column = 0; column < wanted.stride; ++column) {
    double* sums = sums_[tensor - first_].at(column, segment);
    for (int pair = 0; pair < wanted.pairs(); ++pair) sums[pair] = worker.lanes[pair * wanted.stride + column];
  }
}

}  // namespace m2m
