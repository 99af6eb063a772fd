// CUDA's streams, events and memory as objects that give themselves back.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <stdexcept>
#include <string>

namespace m2m {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

class CudaStream {
 public:
  CudaStream() { check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  ~CudaStream() { cudaStreamDestroy(stream_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Waiting for it lets the core do something else.
class CudaEvent {
 public:
  CudaEvent() {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync | cudaEventDisableTiming), "cudaEventCreateWithFlags");
  }
  ~CudaEvent() { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  void record(const CudaStream& stream) { check_cuda(cudaEventRecord(event_, stream.get()), "cudaEventRecord"); }
  void wait() { check_cuda(cudaEventSynchronize(event_), "merging on the CUDA device"); }

 private:
  cudaEvent_t event_ = nullptr;
};

// Memory that only grows; what is in it is lost then.
template <cudaError_t (*Allocate)(void**, std::size_t), cudaError_t (*Release)(void*)>
class CudaMemory {
 public:
  CudaMemory() = default;
  ~CudaMemory() { clear(); }
  CudaMemory(const CudaMemory&) = delete;
  CudaMemory& operator=(const CudaMemory&) = delete;

  char* at_least(std::size_t bytes) {
    if (bytes <= bytes_) return static_cast<char*>(memory_);
    clear();
    check_cuda(Allocate(&memory_, bytes), "allocating memory for CUDA");
    bytes_ = bytes;
    return static_cast<char*>(memory_);
  }

 private:
  void clear() {
    if (memory_ != nullptr) Release(memory_);
    memory_ = nullptr;
    bytes_ = 0;
  }

  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

inline cudaError_t allocate_on_device(void** memory, std::size_t bytes) { return cudaMalloc(memory, bytes); }
inline cudaError_t allocate_pinned(void** memory, std::size_t bytes) {
  return cudaHostAlloc(memory, bytes, cudaHostAllocPortable);
}

using DeviceMemory = CudaMemory<allocate_on_device, cudaFree>;
using PinnedMemory = CudaMemory<allocate_pinned, cudaFreeHost>;

}  // namespace m2m
