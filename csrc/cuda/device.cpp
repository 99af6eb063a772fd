#include "cuda/device.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "cuda/handles.h"
#include "cuda/launch.h"

namespace m2m {

namespace {

constexpr std::int64_t kAlignment = 256;  // of what the kernel reads and writes

std::int64_t round_up(std::int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

// A stream with device memory of its own. What is put onto a stream runs in that order, so a lane may be given its next piece
// while the last is under way: its memory is overwritten only when the kernel has read it, and its results are out.
class CudaDevice::Lane {
 public:
  // Gets ready for the pieces of one sum: room on the device, and the kernel's tables copied to it.
  void begin(const MergeArgs& args, std::int64_t piece_bytes) {
    const std::int64_t inputs = args.n_inputs * sizeof(void*), outputs = args.n_outputs * sizeof(void*);
    const std::int64_t weights = std::int64_t{args.n_outputs} * args.n_inputs * size_of(accumulation_of(args.input));
    const std::int64_t table_bytes = inputs + outputs + weights, room = round_up(piece_bytes);
    memory_ = device_memory_.at_least(round_up(table_bytes) + (args.n_inputs + args.n_outputs) * room);
    data_ = memory_ + round_up(table_bytes);
    room_ = room;
    char* table = table_.at_least(table_bytes);
    for (int i = 0; i < args.n_inputs + args.n_outputs; ++i) {
      const char* address = slot(i);
      std::memcpy(table + i * sizeof(void*), &address, sizeof(void*));
    }
    std::memcpy(table + inputs + outputs, args.weights, weights);
    copy(memory_, table, table_bytes, cudaMemcpyHostToDevice);
    on_device_ = args;
    on_device_.inputs = reinterpret_cast<const void* const*>(memory_);
    on_device_.outputs = reinterpret_cast<void* const*>(memory_ + inputs);
    on_device_.weights = memory_ + inputs + outputs;
  }

  // Copies elements [first, first + count) in, sums them, and copies the sums out.
  void run(const MergeArgs& args, std::int64_t first, std::int64_t count) {
    const std::int64_t in = size_of(args.input), out = size_of(args.output);
    for (int n = 0; n < args.n_inputs; ++n)
      copy(slot(n), static_cast<const char*>(args.inputs[n]) + first * in, count * in, cudaMemcpyHostToDevice);
    on_device_.count = count;
    enqueue_merge(on_device_, kAlignment, reinterpret_cast<std::uintptr_t>(stream_.get()));
    for (int m = 0; m < args.n_outputs; ++m)
      copy(static_cast<char*>(args.outputs[m]) + first * out, slot(args.n_inputs + m), count * out, cudaMemcpyDeviceToHost);
  }

  void end() { done_.record(stream_); }
  void wait() { done_.wait(); }
  void drain() noexcept { cudaStreamSynchronize(stream_.get()); }

 private:
  char* slot(int i) const { return data_ + i * room_; }

  void copy(void* to, const void* from, std::int64_t bytes, cudaMemcpyKind kind) {
    check_cuda(cudaMemcpyAsync(to, from, bytes, kind, stream_.get()), "cudaMemcpyAsync");
  }

  CudaStream stream_;
  CudaEvent done_;
  DeviceMemory device_memory_;
  PinnedMemory table_;
  MergeArgs on_device_{};
  char* memory_ = nullptr;
  char* data_ = nullptr;
  std::int64_t room_ = 0;
};

struct CudaDevice::Worker {
  std::array<Lane, 2> lanes;
};

CudaDevice::CudaDevice(int device, int workers, std::int64_t piece_bytes) : device_(device), piece_bytes_(piece_bytes) {
  check_cuda(cudaSetDevice(device), "cudaSetDevice");
  for (int i = 0; i < workers; ++i) workers_.push_back(std::make_unique<Worker>());
}

CudaDevice::~CudaDevice() { cudaSetDevice(device_); }

void* CudaDevice::allocate(std::int64_t bytes) {
  void* memory = nullptr;
  check_cuda(cudaSetDevice(device_), "cudaSetDevice");
  if (allocate_pinned(&memory, bytes) != cudaSuccess) throw std::bad_alloc();
  return memory;
}

void CudaDevice::release(void* memory) noexcept { cudaFreeHost(memory); }

void CudaDevice::merge(const MergeArgs& args, int worker) {
  check_cuda(cudaSetDevice(device_), "cudaSetDevice");  // it is a property of the calling thread
  std::array<Lane, 2>& lanes = workers_[worker]->lanes;
  const auto widest = static_cast<std::int64_t>(std::max(size_of(args.input), size_of(args.output)));
  const std::int64_t step = std::max<std::int64_t>(piece_bytes_ / widest, 1);
  try {
    for (Lane& lane : lanes) lane.begin(args, step * widest);
    for (std::int64_t first = 0, piece = 0; first < args.count; first += step, ++piece)
      lanes[piece % lanes.size()].run(args, first, std::min(step, args.count - first));
    for (Lane& lane : lanes) lane.end();
    for (Lane& lane : lanes) lane.wait();
  } catch (...) {
    for (Lane& lane : lanes) lane.drain();  // nothing may write into the worker's memory after this
    throw;
  }
}

}  // namespace m2m
