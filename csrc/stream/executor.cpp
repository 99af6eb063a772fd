#include "stream/executor.h"

#include <algorithm>
#include <cfenv>
#include <chrono>
#include <cstring>
#include <optional>
#include <stdexcept>

#include "core/merge.h"
#include "core/widen.h"

namespace m2m {

namespace {

// Bytes of one element as it lies in a file; copied tensors are counted in bytes.
std::int64_t stored_size(const PlannedTensor& tensor, Dtype dtype) {
  return tensor.rule == Rule::copy ? 1 : static_cast<std::int64_t>(size_of(dtype));
}

}  // namespace

StreamFiles::StreamFiles(const StreamPlan& plan, int most_open) : pool(most_open) {
  for (const std::string& path : plan.input_files) inputs.emplace_back(pool, path, StreamFile::Mode::read);
  for (const std::string& path : plan.output_files) outputs.emplace_back(pool, path, StreamFile::Mode::write);
}

struct StreamExecutor::Worker {
  int number;
  StreamBuffers buffers;
  int n_read = 0;
  double* base;                    // a slot for the tensor that is being adapted
  const Place* in_base = nullptr;  // what is there, of this chunk
  std::vector<int> models;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  std::atomic<std::int64_t> claim;  // the one under way
  std::thread thread;

  Worker(int number, const StreamPlan& plan, MergeDevice& device, std::int64_t slot_bytes, std::int64_t first_claim)
      : number(number),
        buffers(plan.most_inputs() + !plan.adapted.empty(), plan.n_outputs, slot_bytes, device),
        base(static_cast<double*>(buffers.input(plan.most_inputs()))),
        models(plan.most_inputs()),
        inputs(plan.most_inputs()),
        claim(first_claim) {
    for (int m = 0; m < plan.n_outputs; ++m) outputs.push_back(buffers.output(m));
  }
};

StreamExecutor::StreamExecutor(const StreamPlan& plan, const StreamFiles& files, StreamPass& pass, const StreamOptions& options)
    : plan_(plan), files_(files), pass_(pass), options_(options), lora_(plan, files.inputs, pass) {
  cut_into_claims();
  pass.start(options.threads);
  start_workers();
}

StreamExecutor::~StreamExecutor() {
  stop();
  join();
}

void StreamExecutor::cut_into_claims() {
  const StreamPosition start = options_.start;
  claim_starts_.push_back(0);
  for (std::int64_t t = start.tensor; t < options_.end; ++t) {
    const std::int64_t elements = claim_elements(t);
    const std::int64_t claims = is_skipped(t) ? 0 : (plan_.tensors[t].count + elements - 1) / elements;
    claim_starts_.push_back(claim_starts_.back() + claims);
  }
  next_claim_ = start.element ? start.element / claim_elements(start.tensor) : 0;
}

// A pass that only looks has no business with copied tensors, nor with those it wants nothing of.
bool StreamExecutor::is_skipped(std::int64_t tensor) const {
  if (pass_.writes()) return false;
  if (plan_.tensors[tensor].rule == Rule::copy) return true;
  for (int n = 0; n < plan_.tensors[tensor].n_inputs; ++n)
    if (pass_.wants(tensor, n)) return false;
  return true;
}

void StreamExecutor::start_workers() {
  for (int i = 0; i < options_.threads; ++i)
    workers_.push_back(std::make_unique<Worker>(i, plan_, pass_.device(), options_.slot_bytes, next_claim_));
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
  std::int64_t claim = claims();
  for (const auto& worker : workers_) claim = std::min(claim, worker->claim.load());
  if (claim == claims()) return {options_.end, 0};
  const std::int64_t tensor = tensor_of(claim);
  return {tensor, (claim - claim_starts_[tensor - options_.start.tensor]) * claim_elements(tensor)};
}

void StreamExecutor::rethrow() const {
  std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

void StreamExecutor::work(Worker& worker) {
  std::fesetenv(FE_DFL_ENV);  // the thread that started this one may have switched subnormals off
  try {
    while (!stopping_) {
      const std::int64_t claim = next_claim_.fetch_add(1);
      worker.claim = std::min(claim, claims());
      if (claim >= claims()) break;
      run_claim(claim, worker);
    }
  } catch (...) {
    stop();
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  if (--running_ == 0) ended_.notify_all();
}

std::int64_t StreamExecutor::tensor_of(std::int64_t claim) const {
  const auto after = std::upper_bound(claim_starts_.begin(), claim_starts_.end(), claim);
  return options_.start.tensor + (after - claim_starts_.begin() - 1);
}

// In bytes, of the types that take part; adapted inputs are formed in float64.
std::int64_t StreamExecutor::widest_element(std::int64_t tensor) const {
  const PlannedTensor& planned = plan_.tensors[tensor];
  if (plan_.has_adapted(tensor)) return sizeof(double);
  std::int64_t widest = stored_size(planned, plan_.common_dtype(tensor));
  for (int m = 0; m < plan_.n_outputs; ++m) widest = std::max(widest, stored_size(planned, plan_.output(tensor, m).dtype));
  return widest;
}

// The chunk's elements are fitted into the slots in the widest type that takes part, in whole rows.
std::int64_t StreamExecutor::chunk_elements(std::int64_t tensor) const {
  const PlannedTensor& planned = plan_.tensors[tensor];
  const std::int64_t fitting = options_.slot_bytes / widest_element(tensor);
  const std::int64_t row = planned.rule == Rule::copy ? 1 : pass_.row(tensor);
  if (row > fitting) throw std::invalid_argument("slot_bytes is too small for a row");
  return fitting - fitting % row;
}

std::int64_t StreamExecutor::claim_elements(std::int64_t tensor) const {
  const std::int64_t span = plan_.tensors[tensor].rule == Rule::copy ? 0 : pass_.span(tensor);
  return span > 0 ? span : chunk_elements(tensor);
}

void StreamExecutor::run_claim(std::int64_t claim, Worker& worker) {
  const std::int64_t t = tensor_of(claim);
  const PlannedTensor& tensor = plan_.tensors[t];
  const std::int64_t elements = claim_elements(t), step = chunk_elements(t);
  const std::int64_t begin = (claim - claim_starts_[t - options_.start.tensor]) * elements;
  const std::int64_t head = tensor.rule == Rule::copy ? 0 : pass_.head(t);
  const std::int64_t end = std::min(begin + (head > 0 ? head : elements), tensor.count);
  for (std::int64_t first = begin; first < end && !stopping_; first += step) {
    const std::int64_t count = std::min(step, end - first);
    read_inputs(t, first, count, worker);
    if (tensor.rule == Rule::copy) {
      copy_chunk(t, first, count, worker);
    } else {
      pass_.run({t, first, count, worker.number, worker.n_read, worker.models.data(), worker.inputs.data(),
                 worker.outputs.data(), plan_.common_dtype(t)});
    }
    if (pass_.writes()) write_outputs(t, first, count, worker);
  }
}

void StreamExecutor::copy_chunk(std::int64_t tensor, std::int64_t first, std::int64_t count, Worker& worker) {
  const auto* kept = static_cast<const unsigned char*>(worker.inputs[0]);
  for (int i = 1; i < worker.n_read; ++i) {
    const auto* other = static_cast<const unsigned char*>(worker.inputs[i]);
    if (std::memcmp(kept, other, count) == 0) continue;
    const std::int64_t byte = std::mismatch(kept, kept + count, other).first - kept;
    throw StreamFailure(FailureKind::unequal, tensor, worker.models[i], first + byte);
  }
  for (void* output : worker.outputs) std::memcpy(output, kept, count);
}

void StreamExecutor::read_inputs(std::int64_t tensor, std::int64_t first, std::int64_t count, Worker& worker) {
  const PlannedTensor& planned = plan_.tensors[tensor];
  const Dtype dtype = plan_.common_dtype(tensor);
  std::optional<LoraCache::Loan> loan;
  if (plan_.has_products(tensor)) loan.emplace(lora_, tensor);
  worker.n_read = 0;
  worker.in_base = nullptr;
  for (int n = 0; n < planned.n_inputs; ++n) {
    if (planned.rule == Rule::merge && !pass_.wants(tensor, n)) continue;
    void* slot = worker.buffers.input(worker.n_read);
    if (plan_.adapted_at(tensor, n) != nullptr) {
      form_adapted(tensor, n, first, count, loan ? &loan->factors() : nullptr, worker, slot);
    } else if (plan_.product(tensor, n) != nullptr) {
      loan->factors().multiply(n, first, count, static_cast<double*>(slot));
    } else if (plan_.gathered_at(tensor, n) != nullptr) {
      read_gathered(tensor, n, first, count, dtype, slot, worker.buffers.narrow());
    } else {
      read_wide(tensor, n, plan_.input(tensor, n), first, count, dtype, slot, worker.buffers.narrow());
    }
    worker.models[worker.n_read] = n;
    worker.inputs[worker.n_read++] = slot;
  }
}

// The contract's sum of the two in float64; the first output's slot holds what is added until then.
void StreamExecutor::form_adapted(std::int64_t tensor, int n, std::int64_t first, std::int64_t count,
                                  const LoraFactors* factors, Worker& worker, void* into) {
  const AdaptedInput& adapted = *plan_.adapted_at(tensor, n);
  load_base(tensor, n, adapted.base, first, count, worker);
  void* added = worker.buffers.output(0);
  if (plan_.product(tensor, n) != nullptr) {
    factors->multiply(n, first, count, static_cast<double*>(added));
  } else {
    read_wide(tensor, n, adapted.added, first, count, Dtype::f64, added, into);
  }
  const void* const terms[] = {worker.base, added};
  const double weights[] = {1.0, adapted.scale};
  const Dtype dtype = plan_.input(tensor, n).dtype;
  if (!adapted.magnitudes.given) {
    merge_cpu({terms, weights, &into, count, 2, 1, Dtype::f64, dtype}, 1);
    return;
  }
  merge_cpu({terms, weights, &into, count, 2, 1, Dtype::f64, Dtype::f64}, 1);
  factors->scale_to_magnitudes(n, first, count, static_cast<double*>(into));
  if (dtype == Dtype::f64) return;
  const void* const wide = into;
  merge_cpu({&wide, weights, &added, count, 1, 1, Dtype::f64, dtype}, 1);
  std::memcpy(into, added, count * size_of(dtype));
}

// Experts that adapt one tensor have it read once, and not at all where it is an input itself.
void StreamExecutor::load_base(std::int64_t tensor, int n, const Place& place, std::int64_t first, std::int64_t count,
                               Worker& worker) {
  if (worker.in_base != nullptr && *worker.in_base == place) return;
  worker.in_base = &place;
  for (int i = 0; i < worker.n_read; ++i)
    if (plan_.input(tensor, worker.models[i]) == place)
      return widen(worker.inputs[i], plan_.common_dtype(tensor), worker.base, Dtype::f64, count);
  read_wide(tensor, n, place, first, count, Dtype::f64, worker.base, worker.buffers.narrow());
}

void StreamExecutor::read_wide(std::int64_t tensor, int n, const Place& place, std::int64_t first, std::int64_t count,
                               Dtype wanted, void* into, void* narrow) {
  const std::int64_t size = stored_size(plan_.tensors[tensor], place.dtype);
  const bool widens = plan_.tensors[tensor].rule == Rule::merge && place.dtype != wanted;
  read_bytes_at(tensor, n, place, widens ? narrow : into, count * size, first * size);
  if (widens) widen(narrow, place.dtype, into, wanted, count);
}

void StreamExecutor::read_bytes_at(std::int64_t tensor, int n, const Place& place, void* into, std::int64_t bytes,
                                   std::int64_t from) {
  std::int64_t done = 0;
  const int code = files_.inputs[place.file].read(into, bytes, place.offset + from, &done);
  if (code == StreamFile::changed) throw StreamFailure(FailureKind::changed, tensor, n);
  if (code) throw StreamFailure(FailureKind::read, tensor, n, 0, code);
  if (done < bytes) throw StreamFailure(FailureKind::shrunk, tensor, n);
  read_bytes_ += bytes;
}

void StreamExecutor::write_outputs(std::int64_t tensor, std::int64_t first, std::int64_t count, Worker& worker) {
  for (int m = 0; m < plan_.n_outputs; ++m) {
    const Place& place = plan_.output(tensor, m);
    const std::int64_t size = stored_size(plan_.tensors[tensor], place.dtype);
    const int code = files_.outputs[place.file].write(worker.outputs[m], count * size, place.offset + first * size);
    if (code) throw StreamFailure(FailureKind::write, tensor, m, 0, code);
    written_bytes_ += count * size;
  }
}

}  // namespace m2m
