#include "stream/lora_factors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/merge.h"
#include "core/nonfinite.h"
#include "core/widen.h"
#include "lora/product.h"
#include "stream/failure.h"

namespace m2m {

namespace {

constexpr std::int64_t kPiece = 8192;  // elements read at a time

// Elements on two axes, the further apart of which is `far`: how many, how far apart in the file, and in the matrix.
struct Axis {
  std::int64_t length;
  std::int64_t step;
  std::int64_t into;
};

// Puts what lies in elements [start, start + count) of the file where it belongs in the matrix.
void scatter(const char* piece, std::int64_t start, std::int64_t count, const Axis& far, const Axis& near, std::int64_t size,
             char* into) {
  const std::int64_t last = std::min(far.length - 1, (start + count - 1) / far.step);
  for (std::int64_t i = start / far.step; i <= last; ++i) {
    const std::int64_t begin = start - i * far.step;  // of the piece, counted from this row or column on
    const std::int64_t first = begin <= 0 ? 0 : (begin + near.step - 1) / near.step;
    for (std::int64_t k = first; k < near.length && k * near.step < begin + count; ++k)
      std::memcpy(into + (i * far.into + k * near.into) * size, piece + (k * near.step - begin) * size, size);
  }
}

// Calls with the elements that lie in one row: their row, their first column, and how many they are from which one on.
template <class Run>
void by_rows(std::int64_t first, std::int64_t count, std::int64_t columns, Run run) {
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t row = (first + done) / columns, column = (first + done) % columns;
    const std::int64_t length = std::min(count - done, columns - column);
    run(row, column, done, length);
    done += length;
  }
}

}  // namespace

LoraFactors::LoraFactors(const StreamPlan& plan, const FileList& files, const StreamPass& pass, std::int64_t tensor)
    : plan_(plan),
      files_(files),
      tensor_(tensor),
      loaded_(plan.tensors[tensor].n_inputs),
      gains_(plan.tensors[tensor].n_inputs) {
  for (int n = 0; n < plan.tensors[tensor].n_inputs; ++n) {
    const LoraProduct* product = plan.product(tensor, n);
    if (product == nullptr || !pass.wants(tensor, n)) continue;
    loaded_[n] = {load(*product, LoraSide::left, n), load(*product, LoraSide::right, n)};
    const AdaptedInput* adapted = plan.adapted_at(tensor, n);
    if (adapted != nullptr && adapted->magnitudes.given) gains_[n] = load_gains(*adapted, n);
  }
}

void LoraFactors::multiply(int n, std::int64_t first, std::int64_t count, double* sums) const {
  const LoraProduct& product = *plan_.product(tensor_, n);
  const Loaded& loaded = loaded_[n];
  lora_product({loaded.left.get(), loaded.right.get(), product.storage(), product.rank, product.columns, first, count, sums});
}

void LoraFactors::scale_to_magnitudes(int n, std::int64_t first, std::int64_t count, double* values) const {
  const bool by_column = plan_.adapted_at(tensor_, n)->magnitudes.by_column;
  const double* gains = gains_[n].data();
  by_rows(first, count, plan_.product(tensor_, n)->columns,
          [&](std::int64_t row, std::int64_t column, std::int64_t at, std::int64_t length) {
            for (std::int64_t i = 0; i < length; ++i) values[at + i] *= gains[by_column ? column + i : row];
          });
}

std::unique_ptr<char[]> LoraFactors::load(const LoraProduct& product, LoraSide side, int n) {
  const bool is_left = side == LoraSide::left;
  const LoraFactor& factor = is_left ? product.left : product.right;
  const std::int64_t rows = is_left ? product.rows : product.rank, columns = is_left ? product.rank : product.columns;
  const Dtype dtype = product.storage();
  const std::int64_t size = size_of(dtype);
  const std::int64_t elements = (rows - 1) * factor.row_step + (columns - 1) * factor.column_step + 1;
  const Axis row{rows, rows == 1 ? elements : factor.row_step, columns};  // a single row is as far as all there is
  const Axis column{columns, columns == 1 ? elements : factor.column_step, 1};
  const Axis far = row.step >= column.step ? row : column, near = row.step >= column.step ? column : row;
  const bool in_order = (columns == 1 || column.step == 1) && (rows == 1 || row.step == columns);
  std::unique_ptr<char[]> matrix(new char[rows * columns * size]);
  alignas(8) char piece[kPiece * 8];
  for (std::int64_t start = 0; start < elements; start += kPiece) {
    const std::int64_t count = std::min(kPiece, elements - start);
    char* into = in_order ? matrix.get() + start * size : piece;
    read_wide(factor.place, side, start, count, dtype, into, n);
    if (!in_order) scatter(piece, start, count, far, near, size, matrix.get());
  }
  return matrix;
}

std::vector<double> LoraFactors::load_gains(const AdaptedInput& adapted, int n) {
  const LoraProduct& product = *plan_.product(tensor_, n);
  const std::vector<double> squares = square_lengths(adapted, product, n);
  const auto length = static_cast<std::int64_t>(squares.size());
  std::vector<double> gains(squares.size());
  for (std::int64_t start = 0; start < length; start += kPiece) {
    const std::int64_t count = std::min(kPiece, length - start);
    read_wide(adapted.magnitudes.place, LoraSide::magnitudes, start, count, Dtype::f64, reinterpret_cast<char*>(&gains[start]),
              n);
  }
  for (std::int64_t i = 0; i < length; ++i) gains[i] /= std::sqrt(squares[i]);
  return gains;
}

// Σ (W + s·BA)² of each row or column, in order, each square and each addition rounded to float64.
std::vector<double> LoraFactors::square_lengths(const AdaptedInput& adapted, const LoraProduct& product, int n) {
  const bool by_column = adapted.magnitudes.by_column;
  std::vector<double> squares(by_column ? product.columns : product.rows, 0.0);
  std::vector<double> base(kPiece), added(kPiece), values(kPiece);
  std::vector<char> stored(kPiece * sizeof(double));
  const double weights[] = {1.0, adapted.scale};
  const void* const terms[] = {base.data(), added.data()};
  void* const into = values.data();
  const std::int64_t elements = product.rows * product.columns;
  for (std::int64_t start = 0; start < elements; start += kPiece) {
    const std::int64_t count = std::min(kPiece, elements - start);
    read(adapted.base, start, count, stored.data(), n);
    widen(stored.data(), adapted.base.dtype, base.data(), Dtype::f64, count);
    multiply(n, start, count, added.data());
    merge_cpu({terms, weights, &into, count, 2, 1, Dtype::f64, Dtype::f64}, 1);
    by_rows(start, count, product.columns, [&](std::int64_t row, std::int64_t column, std::int64_t at, std::int64_t length) {
      for (std::int64_t i = at; i < at + length; ++i) squares[by_column ? column + i - at : row] += values[i] * values[i];
    });
  }
  return squares;
}

void LoraFactors::read_wide(const Place& place, LoraSide side, std::int64_t start, std::int64_t count, Dtype wide, char* into,
                            int n) {
  alignas(8) char stored[kPiece * 8];
  read(place, start, count, stored, n);
  const std::int64_t bad = first_nonfinite(stored, place.dtype, count);
  if (bad != count) throw StreamFailure(FailureKind::factor, tensor_, n, start + bad, static_cast<int>(side));
  widen(stored, place.dtype, into, wide, count);
}

void LoraFactors::read(const Place& place, std::int64_t start, std::int64_t count, char* into, int n) {
  const std::int64_t size = size_of(place.dtype);
  std::int64_t done = 0;
  const int code = files_[place.file].read(into, count * size, place.offset + start * size, &done);
  if (code == StreamFile::changed) throw StreamFailure(FailureKind::changed, tensor_, n);
  if (code) throw StreamFailure(FailureKind::read, tensor_, n, 0, code);
  if (done < count * size) throw StreamFailure(FailureKind::shrunk, tensor_, n);
  read_bytes_ += done;
}

int LoraCache::acquire(std::int64_t tensor) {
  std::unique_lock lock(mutex_);
  for (;;) {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].tensor != tensor) continue;
      ++slots_[i].users;
      return static_cast<int>(i);
    }
    // The work goes on in order: of two free slots the one with the lower tensor is the one that is done with.
    Slot* free = nullptr;
    for (Slot& slot : slots_)
      if (slot.users == 0 && (free == nullptr || slot.tensor < free->tensor)) free = &slot;
    if (free != nullptr) {
      free->tensor = -1;
      free->factors.reset();
      free->factors = std::make_unique<LoraFactors>(plan_, files_, pass_, tensor);
      free->tensor = tensor;
      read_bytes_ += free->factors->read_bytes();
      continue;
    }
    released_.wait(lock);
  }
}

void LoraCache::release(int slot) {
  const std::lock_guard lock(mutex_);
  if (--slots_[slot].users == 0) released_.notify_all();
}

std::int64_t LoraCache::read_bytes() const {
  const std::lock_guard lock(mutex_);
  return read_bytes_;
}

}  // namespace m2m
