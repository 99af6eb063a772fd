// The few calls of the CUDA runtime that csrc/ makes, on the CPU. What is put onto a stream runs as late as its owner allows
// (or at once, or at any moment between), so that a wait that is missing is seen as wrong bytes; copies between memory that
// is not what they say it is end the program.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorUnknown };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2, cudaHostAllocPortable = 1;

struct EmulatedWork {
  std::function<void()> run;
  const void* pinned;  // host memory that it will touch, if any
};
struct EmulatedStream {
  std::deque<EmulatedWork> waiting;
  std::size_t finished = 0;
};
struct EmulatedEvent {
  EmulatedStream* stream = nullptr;
  std::size_t after = 0;  // complete when the stream has finished so many
};
using cudaStream_t = EmulatedStream*;
using cudaEvent_t = EmulatedEvent*;

enum class Pace { eager, lazy, random };

// The machine: everything happens under its lock.
struct EmulatedCuda {
  std::recursive_mutex mutex;
  Pace pace = Pace::lazy;
  std::mt19937_64 random{1};
  long calls = 0;
  long failing_call = -1;  // the number of the call that fails
  std::set<EmulatedStream*> streams;
  std::set<EmulatedEvent*> events;
  std::map<const char*, std::size_t> device, pinned;

  static void demand(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "emulated CUDA: %s\n", what);
    std::abort();
  }

  static bool holds(const std::map<const char*, std::size_t>& memory, const void* start, std::size_t bytes) {
    const char* first = static_cast<const char*>(start);
    auto block = memory.upper_bound(first);
    if (block == memory.begin()) return false;
    --block;
    return first + bytes <= block->first + block->second;
  }

  bool fails() { return calls++ == failing_call; }

  void step(EmulatedStream* stream) {
    const EmulatedWork work = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    ++stream->finished;
    work.run();
  }

  void finish(EmulatedStream* stream, std::size_t after) {
    while (stream->finished < after) step(stream);
  }

  void finish_all() {
    for (EmulatedStream* stream : streams) finish(stream, stream->finished + stream->waiting.size());
  }

  // What the device may do by itself while the host goes on.
  void advance() {
    if (pace == Pace::lazy) return;
    if (pace == Pace::eager) return finish_all();
    for (EmulatedStream* stream : streams)
      while (!stream->waiting.empty() && random() % 3 == 0) step(stream);
  }

  void enqueue(EmulatedStream* stream, std::function<void()> run, const void* pinned_memory = nullptr) {
    demand(streams.count(stream), "no such stream");
    stream->waiting.push_back({std::move(run), pinned_memory});
    advance();
  }

  cudaError_t allocate(std::map<const char*, std::size_t>& memory, void** address, std::size_t bytes) {
    if (fails()) return cudaErrorMemoryAllocation;
    *address = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    std::memset(*address, 0xa5, bytes);
    memory[static_cast<char*>(*address)] = bytes;
    return cudaSuccess;
  }

  cudaError_t release(std::map<const char*, std::size_t>& memory, void* address) {
    demand(memory.erase(static_cast<char*>(address)) == 1, "memory given back that was not given");
    std::free(address);
    return cudaSuccess;
  }
};

inline EmulatedCuda& emulated_cuda() {
  static EmulatedCuda machine;
  return machine;
}

#define EMULATED_CUDA_CALL                 \
  EmulatedCuda& machine = emulated_cuda(); \
  const std::lock_guard<std::recursive_mutex> guard(machine.mutex);

inline const char* cudaGetErrorString(cudaError_t status) { return status == cudaSuccess ? "no error" : "emulated failure"; }

inline cudaError_t cudaSetDevice(int device) {
  EMULATED_CUDA_CALL
  return machine.fails() || device != 0 ? cudaErrorUnknown : cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  EMULATED_CUDA_CALL
  if (machine.fails()) return cudaErrorUnknown;
  machine.streams.insert(*stream = new EmulatedStream);
  return cudaSuccess;
}

inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  EMULATED_CUDA_CALL
  machine.demand(machine.streams.erase(stream) == 1 && stream->waiting.empty(), "a stream is destroyed while it works");
  delete stream;
  return cudaSuccess;
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  EMULATED_CUDA_CALL
  machine.finish(stream, stream->finished + stream->waiting.size());
  return machine.fails() ? cudaErrorUnknown : cudaSuccess;
}

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  EMULATED_CUDA_CALL
  if (machine.fails()) return cudaErrorUnknown;
  machine.events.insert(*event = new EmulatedEvent);
  return cudaSuccess;
}

inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  EMULATED_CUDA_CALL
  machine.demand(machine.events.erase(event) == 1, "no such event");
  delete event;
  return cudaSuccess;
}

inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  EMULATED_CUDA_CALL
  if (machine.fails()) return cudaErrorUnknown;
  *event = {stream, stream->finished + stream->waiting.size()};
  machine.advance();
  return cudaSuccess;
}

// An event that was never recorded is complete.
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  EMULATED_CUDA_CALL
  if (machine.fails()) return cudaErrorUnknown;
  if (event->stream != nullptr) machine.finish(event->stream, event->after);
  machine.advance();
  return cudaSuccess;
}

inline cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  EMULATED_CUDA_CALL
  return machine.allocate(machine.device, address, bytes);
}

// It waits for the device.
inline cudaError_t cudaFree(void* address) {
  EMULATED_CUDA_CALL
  machine.finish_all();
  return machine.release(machine.device, address);
}

inline cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned) {
  EMULATED_CUDA_CALL
  return machine.allocate(machine.pinned, address, bytes);
}

// Whether it waits is nowhere promised.
inline cudaError_t cudaFreeHost(void* address) {
  EMULATED_CUDA_CALL
  const std::map<const char*, std::size_t> block{*machine.pinned.find(static_cast<char*>(address))};
  for (const EmulatedStream* stream : machine.streams)
    for (const EmulatedWork& work : stream->waiting)
      machine.demand(!machine.holds(block, work.pinned, 0), "pinned memory is given back while the device may use it");
  return machine.release(machine.pinned, address);
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  EMULATED_CUDA_CALL
  if (machine.fails()) return cudaErrorUnknown;
  const bool in = kind == cudaMemcpyHostToDevice;
  machine.demand(machine.holds(in ? machine.device : machine.pinned, to, bytes), "a copy ends outside of its memory");
  machine.demand(machine.holds(in ? machine.pinned : machine.device, from, bytes), "a copy starts outside of its memory");
  machine.enqueue(stream, [=] { std::memcpy(to, from, bytes); }, in ? from : to);
  return cudaSuccess;
}
