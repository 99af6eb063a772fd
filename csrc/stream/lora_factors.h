// The factors of the tensors under way: read when a worker first needs them, kept while workers use them.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "stream/file.h"
#include "stream/pass.h"
#include "stream/plan.h"

namespace m2m {

// All products of one tensor, their factors in memory.
class LoraFactors {
 public:
  // Reads the factors of the inputs that the pass wants. Throws StreamFailure; a factor that is not finite is one.
  LoraFactors(const StreamPlan& plan, const FileList& files, const StreamPass& pass, std::int64_t tensor);

  // Elements [first, first + count) of input n.
  void multiply(int n, std::int64_t first, std::int64_t count, double* sums) const;
  // Gives elements [first, first + count) of an adapted input the lengths of its magnitudes.
  void scale_to_magnitudes(int n, std::int64_t first, std::int64_t count, double* values) const;
  std::int64_t read_bytes() const { return read_bytes_; }

 private:
  struct Loaded {
    std::unique_ptr<char[]> left;
    std::unique_ptr<char[]> right;
  };
  std::unique_ptr<char[]> load(const LoraProduct& product, LoraSide side, int n);
  std::vector<double> load_gains(const AdaptedInput& adapted, int n);
  std::vector<double> square_lengths(const AdaptedInput& adapted, const LoraProduct& product, int n);
  void read_wide(const Place& place, LoraSide side, std::int64_t start, std::int64_t count, Dtype wide, char* into, int n);
  void read(const Place& place, std::int64_t start, std::int64_t count, char* into, int n);

  const StreamPlan& plan_;
  const FileList& files_;
  std::int64_t tensor_;
  std::int64_t read_bytes_ = 0;
  std::vector<Loaded> loaded_;              // [N]; nothing for an input that is read, or not wanted
  std::vector<std::vector<double>> gains_;  // [N]; magnitude over length of each row or column, where magnitudes are given
};

// At most two tensors' factors at a time, whatever the number of workers: neighbours in the order of the work. A worker that
// comes to a third one waits until the others are done with the first.
class LoraCache {
 public:
  LoraCache(const StreamPlan& plan, const FileList& files, const StreamPass& pass) : plan_(plan), files_(files), pass_(pass) {}

  // Borrows a tensor's factors for one chunk. A worker borrows one at a time, so that waiting ends.
  class Loan {
   public:
    Loan(LoraCache& cache, std::int64_t tensor) : cache_(cache), slot_(cache.acquire(tensor)) {}
    ~Loan() { cache_.release(slot_); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    const LoraFactors& factors() const { return *cache_.slots_[slot_].factors; }

   private:
    LoraCache& cache_;
    int slot_;
  };

  std::int64_t read_bytes() const;

 private:
  struct Slot {
    std::int64_t tensor = -1;
    int users = 0;
    std::unique_ptr<LoraFactors> factors;
  };
  int acquire(std::int64_t tensor);
  void release(int slot);

  const StreamPlan& plan_;
  const FileList& files_;
  const StreamPass& pass_;
  mutable std::mutex mutex_;
  std::condition_variable released_;
  std::array<Slot, 2> slots_;
  std::int64_t read_bytes_ = 0;
};

}  // namespace m2m
