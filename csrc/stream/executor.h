// Runs one pass over some tensors of a plan: worker threads claim chunks in disk order, read, compute and write.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "stream/buffers.h"
#include "stream/failure.h"
#include "stream/file.h"
#include "stream/lora_factors.h"
#include "stream/pass.h"
#include "stream/plan.h"

namespace m2m {

// A place in the order of the work that does not depend on how tensors are cut into chunks.
struct StreamPosition {
  std::int64_t tensor;
  std::int64_t element;
};

// The files of a plan, for all passes over it.
struct StreamFiles {
  FilePool pool;
  FileList inputs;
  FileList outputs;

  explicit StreamFiles(const StreamPlan& plan, int most_open = std::numeric_limits<int>::max());
};

// Memory: threads * (N + M) * slot_bytes, whatever the size of the tensors; one more slot a thread where inputs are adapted.
struct StreamOptions {
  int threads;
  std::int64_t slot_bytes;  // staging memory of one input or output, a multiple of 8
  StreamPosition start;     // everything before it has been dealt with
  std::int64_t end;         // the first tensor that is left out
};

class StreamExecutor {
 public:
  // Starts at once. `plan`, `files` and `pass` outlive the executor.
  StreamExecutor(const StreamPlan& plan, const StreamFiles& files, StreamPass& pass, const StreamOptions& options);
  ~StreamExecutor();  // stops

  bool wait(double seconds);  // true once all workers have ended: finished, failed or stopped
  void stop();                // ends after the chunks under way

  StreamPosition position() const;  // everything before it is done
  std::int64_t read_bytes() const { return read_bytes_ + lora_.read_bytes(); }
  std::int64_t written_bytes() const { return written_bytes_; }
  void rethrow() const;  // throws what a worker threw first, if any did

 private:
  struct Worker;
  void cut_into_claims();
  void start_workers();
  void join();
  void work(Worker& worker);
  void run_claim(std::int64_t claim, Worker& worker);
  void copy_chunk(std::int64_t tensor, std::int64_t first, std::int64_t count, Worker& worker);
  void read_inputs(std::int64_t tensor, std::int64_t first, std::int64_t count, Worker& worker);
  void form_adapted(std::int64_t tensor, int n, std::int64_t first, std::int64_t count, const LoraFactors* factors,
                    Worker& worker, void* into);
  void load_base(std::int64_t tensor, int n, const Place& place, std::int64_t first, std::int64_t count, Worker& worker);
  void read_wide(std::int64_t tensor, int n, const Place& place, std::int64_t first, std::int64_t count, Dtype wanted,
                 void* into, void* narrow);
  void read_gathered(std::int64_t tensor, int n, std::int64_t first, std::int64_t count, Dtype wanted, void* into,
                     void* narrow);
  void read_mean(std::int64_t tensor, int n, const RowRun& run, std::int64_t column, std::int64_t count, Dtype wanted,
                 void* into, void* narrow);
  void read_bytes_at(std::int64_t tensor, int n, const Place& place, void* into, std::int64_t bytes, std::int64_t from);
  void write_outputs(std::int64_t tensor, std::int64_t first, std::int64_t count, Worker& worker);
  bool is_skipped(std::int64_t tensor) const;
  std::int64_t widest_element(std::int64_t tensor) const;
  std::int64_t claims() const { return claim_starts_.back(); }
  std::int64_t tensor_of(std::int64_t claim) const;
  std::int64_t chunk_elements(std::int64_t tensor) const;
  std::int64_t claim_elements(std::int64_t tensor) const;

  const StreamPlan& plan_;
  const StreamFiles& files_;
  StreamPass& pass_;
  const StreamOptions options_;
  LoraCache lora_;
  // What a worker takes at once: a chunk, or a span of the pass. [tensors + 1] number of the first one of each tensor.
  std::vector<std::int64_t> claim_starts_;

  std::atomic<std::int64_t> next_claim_{0};
  std::atomic<std::int64_t> read_bytes_{0};
  std::atomic<std::int64_t> written_bytes_{0};
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;  // guards running_ and error_
  std::condition_variable ended_;
  int running_ = 0;
  std::exception_ptr error_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace m2m
