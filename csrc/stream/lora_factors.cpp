#include "stream/lora_factors.h"

#include <algorithm>
#include <cstring>

#include "core/nonfinite.h"
#include "core/widen.h"
#include "lora/product.h"
#include "stream/failure.h"

namespace m2m {

namespace {

constexpr std::int64_t kPiece = 8192;  // elements read at a time

// Puts elements [start, start + count) of a matrix stored as [columns, rows] where they belong in [rows, columns].
void scatter(const char* piece, std::int64_t start, std::int64_t count, std::int64_t rows, std::int64_t columns,
             std::int64_t size, char* into) {
  for (std::int64_t e = start; e < start + count; ++e, piece += size)
    std::memcpy(into + (e % rows * columns + e / rows) * size, piece, size);
}

}  // namespace

LoraFactors::LoraFactors(const StreamPlan& plan, const FileList& files, const StreamPass& pass, std::int64_t tensor)
    : plan_(plan), files_(files), tensor_(tensor), loaded_(plan.tensors[tensor].n_inputs) {
  for (int n = 0; n < plan.tensors[tensor].n_inputs; ++n) {
    const LoraProduct* product = plan.product(tensor, n);
    if (product == nullptr || !pass.wants(tensor, n)) continue;
    loaded_[n] = {load(*product, LoraSide::left, n), load(*product, LoraSide::right, n)};
  }
}

void LoraFactors::multiply(int n, std::int64_t first, std::int64_t count, double* sums) const {
  const LoraProduct& product = *plan_.product(tensor_, n);
  const Loaded& loaded = loaded_[n];
  lora_product({loaded.left.get(), loaded.right.get(), product.storage(), product.rank, product.columns, first, count, sums});
}

std::unique_ptr<char[]> LoraFactors::load(const LoraProduct& product, LoraSide side, int n) {
  const bool is_left = side == LoraSide::left;
  const LoraFactor& factor = is_left ? product.left : product.right;
  const std::int64_t rows = is_left ? product.rows : product.rank, columns = is_left ? product.rank : product.columns;
  const Dtype dtype = product.storage();
  const std::int64_t elements = rows * columns, size = size_of(dtype);
  std::unique_ptr<char[]> matrix(new char[elements * size]);
  alignas(8) char stored[kPiece * 8];
  alignas(8) char piece[kPiece * 8];
  for (std::int64_t start = 0; start < elements; start += kPiece) {
    const std::int64_t count = std::min(kPiece, elements - start);
    read(factor, start, count, stored, n);
    const std::int64_t bad = first_nonfinite(stored, factor.place.dtype, count);
    if (bad != count) throw StreamFailure(FailureKind::factor, tensor_, n, start + bad, static_cast<int>(side));
    char* into = factor.transposed ? piece : matrix.get() + start * size;
    widen(stored, factor.place.dtype, into, dtype, count);
    if (factor.transposed) scatter(piece, start, count, rows, columns, size, matrix.get());
  }
  return matrix;
}

void LoraFactors::read(const LoraFactor& factor, std::int64_t start, std::int64_t count, char* into, int n) {
  const std::int64_t size = size_of(factor.place.dtype);
  std::int64_t done = 0;
  const int code = files_[factor.place.file].read(into, count * size, factor.place.offset + start * size, &done);
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
