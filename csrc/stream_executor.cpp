#include "stream_executor.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "widen.h"

namespace m2m {

namespace {

// Bytes of one element as it lies in a file; copied tensors are counted in bytes.
std::int64_t stored_size(const PlannedTensor& tensor, Dtype dtype) {
  return tensor.rule == Rule::copy ? 1 : static_cast<std::int64_t>(size_of(dtype));
}

}  // namespace

struct StreamExecutor::Worker {
  StreamBuffers buffers;
  std::vector<int> models;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  std::atomic<std::int64_t> chunk;  // the one under way
  std::thread thread;

  Worker(const StreamPlan& plan, std::int64_t slot_bytes, std::int64_t first_chunk)
      : buffers(plan.most_inputs(), plan.n_outputs, slot_bytes),
        models(plan.most_inputs()),
        inputs(plan.most_inputs()),
        outputs(plan.n_outputs),
        chunk(first_chunk) {}
};

StreamExecutor::StreamExecutor(const StreamPlan& plan, StreamPass& pass, const StreamOptions& options)
    : plan_(plan), pass_(pass), options_(options), lora_(plan, input_files_, pass) {
  for (const std::string& path : plan.input_files) input_files_.emplace_back(path, StreamFile::Mode::read);
  for (const std::string& path : plan.output_files) output_files_.emplace_back(path, StreamFile::Mode::write);
  const auto n_tensors = static_cast<std::int64_t>(plan.tensors.size());
  chunk_starts_.push_back(0);
  for (std::int64_t t = 0; t < n_tensors; ++t) {
    const std::int64_t elements = chunk_elements(t);
    chunk_starts_.push_back(chunk_starts_.back() + (plan.tensors[t].count + elements - 1) / elements);
  }
  const StreamPosition start = options.start;
  next_chunk_ = start.tensor == n_tensors ? chunks() : chunk_starts_[start.tensor] + start.element / chunk_elements(start.tensor);
  start_workers();
}

StreamExecutor::~StreamExecutor() {
  stop();
  join();
}

void StreamExecutor::start_workers() {
  for (int i = 0; i < options_.threads; ++i)
    workers_.push_back(std::make_unique<Worker>(plan_, options_.slot_bytes, next_chunk_));
  running_ = options_.threads;
  try {
    for (auto& worker : workers_) worker->thread = std::thread([this, &worker] { work(*worker); });
  } catch (...) {
    stop();
    join();
    throw;
  }
}

void StreamExecutor::join() {
  for (auto& worker : workers_)
    if (worker->thread.joinable()) worker->thread.join();
}

bool StreamExecutor::wait(double seconds) {
  std::unique_lock lock(mutex_);
  return ended_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return running_ == 0; });
}

void StreamExecutor::stop() { stopping_ = true; }

StreamPosition StreamExecutor::position() const {
  // A worker that has claimed its next chunk but not yet noted it still shows its last one, which is smaller: safe.
  std::int64_t chunk = chunks();
  for (const auto& worker : workers_) chunk = std::min(chunk, worker->chunk.load());
  if (chunk == chunks()) return {static_cast<std::int64_t>(plan_.tensors.size()), 0};
  const std::int64_t tensor = tensor_of(chunk);
  return {tensor, (chunk - chunk_starts_[tensor]) * chunk_elements(tensor)};
}

void StreamExecutor::rethrow() const {
  std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

void StreamExecutor::work(Worker& worker) {
  try {
    while (!stopping_) {
      const std::int64_t chunk = next_chunk_.fetch_add(1);
      worker.chunk = std::min(chunk, chunks());
      if (chunk >= chunks()) break;
      run_chunk(chunk, worker);
    }
  } catch (...) {
    stop();
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  if (--running_ == 0) ended_.notify_all();
}

std::int64_t StreamExecutor::tensor_of(std::int64_t chunk) const {
  return std::upper_bound(chunk_starts_.begin(), chunk_starts_.end(), chunk) - chunk_starts_.begin() - 1;
}

// The chunk's elements are fitted into the slots in the widest type that takes part.
std::int64_t StreamExecutor::chunk_elements(std::int64_t tensor) const {
  const PlannedTensor& planned = plan_.tensors[tensor];
  std::int64_t widest = stored_size(planned, common_dtype(tensor));
  for (int m = 0; m < plan_.n_outputs; ++m) widest = std::max(widest, stored_size(planned, plan_.output(tensor, m).dtype));
  return options_.slot_bytes / widest;
}

Dtype StreamExecutor::common_dtype(std::int64_t tensor) const {
  const Dtype first = plan_.input(tensor, 0).dtype;
  bool equal = true, any_double = false;
  for (int n = 0; n < plan_.tensors[tensor].n_inputs; ++n) {
    const Dtype dtype = plan_.input(tensor, n).dtype;
    equal = equal && dtype == first;
    any_double = any_double || dtype == Dtype::f64;
  }
  return equal ? first : any_double ? Dtype::f64 : Dtype::f32;
}

void StreamExecutor::run_chunk(std::int64_t chunk, Worker& worker) {
  const std::int64_t t = tensor_of(chunk);
  const PlannedTensor& tensor = plan_.tensors[t];
  const std::int64_t elements = chunk_elements(t);
  const std::int64_t first = (chunk - chunk_starts_[t]) * elements;
  const std::int64_t count = std::min(elements, tensor.count - first);
  const Dtype dtype = common_dtype(t);

  std::optional<LoraCache::Loan> loan;
  if (plan_.has_products(t)) loan.emplace(lora_, t);
  int read = 0;
  for (int n = 0; n < tensor.n_inputs; ++n) {
    if (!pass_.wants(t, n)) continue;
    void* slot = worker.buffers.input(read);
    if (plan_.product(t, n) != nullptr) {
      loan->factors().multiply(n, first, count, static_cast<double*>(slot));
    } else {
      read_input(t, n, first, count, dtype, slot, worker.buffers.narrow());
    }
    worker.models[read] = n;
    worker.inputs[read++] = slot;
  }
  for (int m = 0; m < plan_.n_outputs; ++m) worker.outputs[m] = worker.buffers.output(m);
  pass_.run({t, first, count, read, worker.models.data(), worker.inputs.data(), worker.outputs.data(), dtype});

  if (!pass_.writes()) return;
  for (int m = 0; m < plan_.n_outputs; ++m) {
    const Place& place = plan_.output(t, m);
    const std::int64_t size = stored_size(tensor, place.dtype);
    const int code = output_files_[place.file].write(worker.outputs[m], count * size, place.offset + first * size);
    if (code) throw StreamFailure(FailureKind::write, t, m, 0, code);
    written_bytes_ += count * size;
  }
}

void StreamExecutor::read_input(std::int64_t tensor, int n, std::int64_t first, std::int64_t count, Dtype wanted, void* into,
                                void* narrow) {
  const Place& place = plan_.input(tensor, n);
  const std::int64_t size = stored_size(plan_.tensors[tensor], place.dtype);
  const bool widens = plan_.tensors[tensor].rule == Rule::merge && place.dtype != wanted;
  read_bytes_at(tensor, n, widens ? narrow : into, count * size, first * size);
  if (widens) widen(narrow, place.dtype, into, wanted, count);
}

void StreamExecutor::read_bytes_at(std::int64_t tensor, int n, void* into, std::int64_t bytes, std::int64_t from) {
  const Place& place = plan_.input(tensor, n);
  std::int64_t done = 0;
  const int code = input_files_[place.file].read(into, bytes, place.offset + from, &done);
  if (code) throw StreamFailure(FailureKind::read, tensor, n, 0, code);
  if (done < bytes) throw StreamFailure(FailureKind::shrunk, tensor, n);
  read_bytes_ += bytes;
}

}  // namespace m2m
