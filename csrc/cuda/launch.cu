// The only file nvcc sees: puts the kernel onto a stream.
#include <cuda_runtime.h>

#include <cstring>
#include <vector>

#include "cuda/handles.h"
#include "cuda/kernels.cuh"
#include "cuda/launch.h"

namespace m2m {
namespace {

// Makes `device` current and puts the caller's back.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check_cuda(cudaGetDevice(&callers_), "cudaGetDevice");
    check_cuda(cudaSetDevice(device), "cudaSetDevice");
  }
  ~OnDevice() { cudaSetDevice(callers_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int callers_ = 0;
};

// The three arrays of MergeArgs in device memory, taken from and given back to the stream's own pool.
class DeviceTable {
 public:
  DeviceTable(const MergeArgs& args, cudaStream_t stream) : stream_(stream) {
    const std::size_t inputs = args.n_inputs * sizeof(void*);
    const std::size_t outputs = args.n_outputs * sizeof(void*);
    const std::size_t weights = std::size_t(args.n_outputs) * args.n_inputs * size_of(accumulation_of(args.input));
    std::vector<char> host(inputs + outputs + weights);
    std::memcpy(host.data(), args.inputs, inputs);
    std::memcpy(host.data() + inputs, args.outputs, outputs);
    std::memcpy(host.data() + inputs + outputs, args.weights, weights);
    check_cuda(cudaMallocAsync(&memory_, host.size(), stream), "cudaMallocAsync");
    const cudaError_t copied = cudaMemcpyAsync(memory_, host.data(), host.size(), cudaMemcpyHostToDevice, stream);
    if (copied != cudaSuccess) cudaFreeAsync(memory_, stream);
    check_cuda(copied, "cudaMemcpyAsync");
    char* memory = static_cast<char*>(memory_);
    args_ = args;
    args_.inputs = reinterpret_cast<const void* const*>(memory);
    args_.outputs = reinterpret_cast<void* const*>(memory + inputs);
    args_.weights = memory + inputs + outputs;
  }
  ~DeviceTable() { cudaFreeAsync(memory_, stream_); }
  DeviceTable(const DeviceTable&) = delete;
  DeviceTable& operator=(const DeviceTable&) = delete;

  const MergeArgs& args() const { return args_; }

 private:
  cudaStream_t stream_;
  void* memory_ = nullptr;
  MergeArgs args_{};
};

template <class In, class Out, int Tile>
void launch(const MergeArgs& on_device, std::uintptr_t addresses, cudaStream_t stream) {
  const Grid grid = grid_of<In, Tile>(on_device, addresses);
  const dim3 blocks(static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.tiles));
  merge_kernel<In, Out, Tile><<<blocks, kThreadsPerBlock, 0, stream>>>(on_device, grid.vectors);
  check_cuda(cudaGetLastError(), "merge_kernel");
}

}  // namespace

void enqueue_merge(const MergeArgs& on_device, std::uintptr_t addresses, std::uintptr_t stream) {
  if (on_device.count == 0) return;
  const cudaStream_t cuda_stream = reinterpret_cast<cudaStream_t>(stream);
  dispatch(on_device.input, [&](auto in) {
    dispatch(on_device.output, [&](auto out) {
      using In = typename decltype(in)::type;
      using Out = typename decltype(out)::type;
      if (on_device.n_outputs == 1) {
        launch<In, Out, 1>(on_device, addresses, cuda_stream);
      } else {
        launch<In, Out, 8>(on_device, addresses, cuda_stream);
      }
    });
  });
}

void merge_cuda(const MergeArgs& args, int device, std::uintptr_t stream) {
  if (args.count == 0) return;
  const OnDevice on_device(device);
  const DeviceTable table(args, reinterpret_cast<cudaStream_t>(stream));
  enqueue_merge(table.args(), addresses_or(args), stream);
}

}  // namespace m2m
