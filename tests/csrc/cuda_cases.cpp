// The CUDA device under an emulated runtime: the stream gives the CPU's bits, however the device takes its time.
#include <cuda_runtime_api.h>

#include <stdexcept>

#include "cuda_on_cpu.h"

#include "check.h"
#include "cuda/device.h"
#include "cuda/kernels.cuh"
#include "cuda/launch.h"
#include "stream/executor.h"
#include "stream/merge_pass.h"
#include "stream_problem.h"

namespace m2m {

namespace {

template <class In, class Out, int Tile>
void run_kernel(const MergeArgs& args, std::uintptr_t addresses) {
  const Grid grid = grid_of<In, Tile>(args, addresses);
  run_grid(static_cast<unsigned>(grid.blocks), grid.tiles, kThreadsPerBlock, Order::shuffled,
           [&] { merge_kernel<In, Out, Tile>(args, grid.vectors); });
}

}  // namespace

// What cuda/launch.cu does, with the emulator's stream and kernel.
void enqueue_merge(const MergeArgs& on_device, std::uintptr_t addresses, std::uintptr_t stream) {
  EMULATED_CUDA_CALL
  if (machine.fails()) throw std::runtime_error("merge_kernel: emulated failure");
  machine.enqueue(reinterpret_cast<cudaStream_t>(stream), [=] {
    dispatch(on_device.input, [&](auto in) {
      dispatch(on_device.output, [&](auto out) {
        using In = typename decltype(in)::type;
        using Out = typename decltype(out)::type;
        on_device.n_outputs == 1 ? run_kernel<In, Out, 1>(on_device, addresses) : run_kernel<In, Out, 8>(on_device, addresses);
      });
    });
  });
}

}  // namespace m2m

using namespace m2m;

namespace {

constexpr Pace paces[] = {Pace::lazy, Pace::random, Pace::eager};

// Runs a plan on the emulated device to its end.
void run(const StreamProblem& problem, int threads, std::int64_t slot_bytes, std::int64_t piece_bytes) {
  const StreamFiles files(problem.plan);
  CudaDevice device(0, threads, piece_bytes);
  MergePass pass(problem.plan, problem.weights, false, device);
  StreamExecutor executor(problem.plan, files, pass, {threads, slot_bytes, {0, 0}, problem.end()});
  while (!executor.wait(1)) {}
  executor.rethrow();
}

void check_nothing_is_left() {
  const EmulatedCuda& machine = emulated_cuda();
  CHECK(machine.streams.empty() && machine.events.empty(), "streams or events were left behind");
  CHECK(machine.device.empty() && machine.pinned.empty(), "memory was left behind");
}

// Lets each of the first calls fail once, and some of the later ones, at every pace of the device.
void check_every_failure(const StreamProblem& problem, int threads) {
  EmulatedCuda& machine = emulated_cuda();
  const auto run_failing = [&](long call) {
    machine.calls = 0;
    machine.failing_call = call;
    run(problem, threads, 1024, 256);
  };
  run_failing(-1);
  const long calls = machine.calls;
  CHECK(calls > 30, "only %ld calls", calls);
  int failures = 0;
  for (long call = 0; call < calls; call += 1 + call / 100) {
    machine.pace = paces[call % 3];
    try {
      run_failing(call);
    } catch (const std::runtime_error& error) {
      CHECK(std::strstr(error.what(), "emulated failure"), "%s", error.what());
      ++failures;
    } catch (const std::bad_alloc&) {
      ++failures;
    }
    check_nothing_is_left();
  }
  CHECK(failures > 40, "only %d failures of %ld calls were reported", failures, calls);
}

}  // namespace

CASE(the_cuda_stream_gives_the_bits_of_the_contract) {
  const TemporaryFolder folder;
  for (int seed = 0; seed < 12; ++seed) {
    StreamProblem problem(folder, seed);
    for (const Pace pace : paces) {
      emulated_cuda().pace = pace;
      for (const std::int64_t piece_bytes : {8, 1000, 1 << 20}) {
        if (piece_bytes == 8 && seed >= 3) continue;
        problem.lay_out();
        run(problem, 1 + seed % 3, 2048, piece_bytes);
        CHECK(problem.is_merged(), "seed %d, pace %d, pieces of %d", seed, static_cast<int>(pace),
              static_cast<int>(piece_bytes));
      }
    }
  }
  check_nothing_is_left();
}

CASE(tails_and_many_outputs_are_whole) {
  CudaDevice device(0, 1, 64);
  for (const Pace pace : paces) {
    emulated_cuda().pace = pace;
    for (const std::int64_t count : {1, 15, 16, 17, 31, 32, 33, 100}) {
      for (const int n_outputs : {1, 8, 11}) {
        auto* memory = static_cast<float*>(device.allocate((2 + n_outputs) * count * sizeof(float)));
        for (std::int64_t p = 0; p < 2 * count; ++p) memory[p] = static_cast<float>(p % 17) - 8;
        const void* inputs[] = {memory, memory + count};
        std::vector<void*> outputs;
        std::vector<float> weights;
        for (int m = 0; m < n_outputs; ++m) {
          outputs.push_back(memory + (2 + m) * count);
          weights.insert(weights.end(), {static_cast<float>(m), 0.5f});
        }
        device.merge({inputs, weights.data(), outputs.data(), count, 2, n_outputs, Dtype::f32, Dtype::f32}, 0);
        for (int m = 0; m < n_outputs; ++m)
          for (std::int64_t p = 0; p < count; ++p) {
            const float got = memory[(2 + m) * count + p], wanted = memory[p] * m + memory[count + p] * 0.5f;
            CHECK(got == wanted, "output %d, element %lld of %lld", m, static_cast<long long>(p),
                  static_cast<long long>(count));
          }
        device.release(memory);
      }
    }
  }
}

CASE(whichever_call_fails_the_stream_ends_and_says_so) {
  const TemporaryFolder folder;
  const StreamProblem problem(folder, 5);
  for (const int threads : {1, 2}) check_every_failure(problem, threads);  // one thread makes its calls in the same order
}

CASE(a_device_that_is_not_there_is_refused) {
  try {
    CudaDevice device(7, 1);
  } catch (const std::runtime_error& error) {
    CHECK(std::strstr(error.what(), "cudaSetDevice"), "%s", error.what());
    return;
  }
  CHECK(false, "device 7 was accepted");
}
