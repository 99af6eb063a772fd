// The CPU driver and the emulated CUDA kernel against the sum written as it reads, bit for bit, at awkward sizes.
#include <memory>
#include <random>

#include "cuda_on_cpu.h"

#include "check.h"
#include "core/isa.h"
#include "cuda/kernels.cuh"

using namespace m2m;

namespace {

// One merge with exact-sized buffers (so that a sanitizer sees one element too many), shifted by `shift` elements.
template <class In, class Out>
struct Problem {
  using Acc = Accumulation<In>;
  int n, m, shift;
  std::int64_t count;
  std::vector<std::unique_ptr<In[]>> inputs;
  std::vector<std::unique_ptr<Out[]>> outputs;
  std::vector<Acc> weights;
  std::vector<const void*> input_pointers;
  std::vector<void*> output_pointers;

  Problem(int n, int m, std::int64_t count, int shift) : n(n), m(m), shift(shift), count(count), weights(n * m) {
    std::mt19937_64 bits(n * 1000 + m * 100 + count);
    for (int i = 0; i < n; ++i) {
      inputs.emplace_back(new In[count + shift]);
      for (std::int64_t p = 0; p < count; ++p) {
        double value = static_cast<double>(bits() % 4001) / 1024 - 2;
        if (p % 11 == 3) value = -0.0;
        if (p % 13 == 5 && i == 1) value = INFINITY;  // seen in exactly the candidates that use this expert
        store(value, &inputs[i][p + shift]);
      }
      input_pointers.push_back(inputs[i].get() + shift);
    }
    for (int i = 0; i < m; ++i) {
      outputs.emplace_back(new Out[count + shift]);
      output_pointers.push_back(outputs[i].get() + shift);
    }
    for (Acc& weight : weights) weight = bits() % 4 == 0 ? Acc(0) : static_cast<Acc>(bits() % 2001) / 997 - 1;
  }

  MergeArgs args(Dtype in, Dtype out) {
    return MergeArgs{input_pointers.data(), weights.data(), output_pointers.data(), count, n, m, in, out};
  }

  // NaN everywhere: an element that is not written is seen.
  void spoil() {
    for (auto& output : outputs) std::memset(static_cast<void*>(output.get()), 0xff, sizeof(Out) * (count + shift));
  }

  void check(const char* what) const {
    for (int row = 0; row < m; ++row) {
      for (std::int64_t p = 0; p < count; ++p) {
        Acc sum = Acc(-0.0);
        for (int i = 0; i < n; ++i) {
          const Acc weight = weights[row * n + i];
          if (weight != 0) sum = std::fma(weight, static_cast<Acc>(load(inputs[i][p + shift])), sum);
        }
        Out wanted;
        store(sum, &wanted);
        const Out& got = outputs[row][p + shift];
        CHECK(std::memcmp(&got, &wanted, sizeof(Out)) == 0, "%s: N %d, M %d, P %lld, shift %d: candidate %d, element %lld",
              what, n, m, static_cast<long long>(count), shift, row, static_cast<long long>(p));
      }
    }
    for (int row = 0; row < m; ++row) {
      const auto* before = reinterpret_cast<const unsigned char*>(outputs[row].get());
      for (std::size_t i = 0; i < sizeof(Out) * shift; ++i) CHECK(before[i] == 0xff, "%s: wrote before its output", what);
    }
  }
};

// Each input and each output dtype, with loads and stores of equal and of different widths.
template <class Visit>
void every_dtype(Visit&& visit) {
  visit(Dtype::bf16, Dtype::bf16, TypeTag<Bf16>{}, TypeTag<Bf16>{});
  visit(Dtype::f16, Dtype::f32, TypeTag<F16>{}, TypeTag<float>{});
  visit(Dtype::f32, Dtype::f16, TypeTag<float>{}, TypeTag<F16>{});
  visit(Dtype::f64, Dtype::f64, TypeTag<double>{}, TypeTag<double>{});
}

template <class In, class Out, int Tile>
void emulate(const MergeArgs& args, Order order) {
  const Grid grid = grid_of<In, Tile>(args, addresses_or(args));
  run_grid(static_cast<unsigned>(grid.blocks), grid.tiles, kThreadsPerBlock, order,
           [&] { merge_kernel<In, Out, Tile>(args, grid.vectors); });
}

}  // namespace

CASE(cpu_on_every_instruction_set) {
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (!isa_available(isa)) continue;
    use_isa(isa);
    every_dtype([](Dtype in, Dtype out, auto in_tag, auto out_tag) {
      for (const std::int64_t count : {0, 1, 15, 511, 512, 513, 1100}) {
        for (const int n : {1, 2, 16, 17}) {
          for (const int m : {1, 3, 9}) {
            Problem<typename decltype(in_tag)::type, typename decltype(out_tag)::type> problem(n, m, count, m % 4);
            problem.spoil();
            merge_cpu(problem.args(in, out), 1);
            problem.check("cpu");
          }
        }
      }
    });
  }
}

CASE(cpu_on_many_threads) {
  for (const int threads : {2, 3, 8}) {
    for (const std::int64_t count : {32767, 65537, 100001}) {
      Problem<Bf16, Bf16> problem(3, 2, count, 1);
      problem.spoil();
      merge_cpu(problem.args(Dtype::bf16, Dtype::bf16), threads);
      problem.check("threads");
    }
  }
}

CASE(unused_inputs_are_not_read) {
  Problem<Bf16, float> problem(4, 2, 700, 0);
  for (int row = 0; row < 2; ++row) problem.weights[row * 4 + 2] = 0;
  const MergeArgs args = problem.args(Dtype::bf16, Dtype::f32);
  problem.input_pointers[2] = nullptr;
  problem.spoil();
  merge_cpu(args, 1);
  problem.check("null input");
}

CASE(emulated_cuda_kernel) {
  every_dtype([](Dtype in, Dtype out, auto in_tag, auto out_tag) {
    using In = typename decltype(in_tag)::type;
    using Out = typename decltype(out_tag)::type;
    for (const std::int64_t count : {1, 7, 8, 9, 300, 2051}) {
      for (const int shift : {0, 1, 8}) {
        Problem<In, Out> one(3, 1, count, shift);
        one.spoil();
        emulate<In, Out, 1>(one.args(in, out), Order::ascending);
        one.check("kernel of one");
        Problem<In, Out> many(4, 11, count, shift);
        for (const Order order : {Order::ascending, Order::descending, Order::shuffled}) {
          if (order != Order::ascending && count > 300) continue;
          many.spoil();
          emulate<In, Out, 8>(many.args(in, out), order);
          many.check("kernel of eight");
        }
      }
    }
  });
}

CASE(aligned_pointers_are_moved_in_vectors) {
  alignas(16) static Bf16 input[64];
  alignas(16) static Bf16 output[65];
  const void* inputs[] = {input};
  void* outputs[] = {output};
  float weight = 1;
  MergeArgs args{inputs, &weight, outputs, 61, 1, 1, Dtype::bf16, Dtype::bf16};
  CHECK((grid_of<Bf16, 1>(args, addresses_or(args)).vectors == 7), "aligned");
  outputs[0] = output + 1;
  CHECK((grid_of<Bf16, 1>(args, addresses_or(args)).vectors == 0), "one element off");
}
