// Sums of tensors and of products of factors against the sum written as it reads, bit for bit, over edges of chunks and
// threads.
#include "lora/lora_sum.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

#include "check.h"
#include "core/arithmetic.h"
#include "core/isa.h"

using namespace m2m;

namespace {

// A bf16 tensor, then a product of each float type; buffers have exactly their size, so that a sanitizer sees one element more.
template <class Out>
struct Problem {
  static constexpr int kTerms = 3;
  std::int64_t rows, columns, rank, count;
  int m;
  std::unique_ptr<Bf16[]> tensor;
  std::unique_ptr<float[]> left, right;
  std::unique_ptr<double[]> wide_left, wide_right;
  std::vector<double> weights;
  std::vector<std::unique_ptr<Out[]>> outputs;
  std::vector<void*> output_pointers;

  Problem(std::int64_t rows, std::int64_t columns, std::int64_t rank, int m)
      : rows(rows), columns(columns), rank(rank), count(rows * columns), m(m), weights(m * kTerms) {
    std::mt19937_64 bits(rows * 1000 + columns * 10 + rank + m);
    const auto number = [&] { return static_cast<double>(bits() % 4001) / 1024 - 2; };
    const auto fill = [&](auto& array, std::int64_t size) {
      using T = typename std::remove_reference_t<decltype(array)>::element_type;
      array.reset(new T[size]);
      for (std::int64_t i = 0; i < size; ++i) store(number(), &array[i]);
    };
    fill(tensor, count);
    fill(left, rows * rank);
    fill(right, rank * columns);
    fill(wide_left, rows * rank);
    fill(wide_right, rank * columns);
    for (double& weight : weights) weight = bits() % 4 == 0 ? 0.0 : number() / 3;
    for (int row = 0; row < m; ++row) {
      outputs.emplace_back(new Out[count]);
      output_pointers.push_back(outputs.back().get());
    }
  }

  void sum(Dtype output, int threads) {
    for (auto& one : outputs) std::memset(static_cast<void*>(one.get()), 0xff, sizeof(Out) * count);
    const LoraTerm terms[kTerms] = {{tensor.get(), nullptr, Dtype::bf16, 0, 0},
                                    {left.get(), right.get(), Dtype::f32, rank, columns},
                                    {wide_left.get(), wide_right.get(), Dtype::f64, rank, columns}};
    lora_sum({terms, weights.data(), output_pointers.data(), count, kTerms, m, output}, threads);
  }

  template <class T>
  double product(const T* a, const T* b, std::int64_t p) const {
    double sum = -0.0;
    for (std::int64_t k = 0; k < rank; ++k) {
      const double term = static_cast<double>(a[p / columns * rank + k]) * static_cast<double>(b[k * columns + p % columns]);
      sum += term;
    }
    return sum;
  }

  void check(int threads) const {
    for (std::int64_t p = 0; p < count; ++p) {
      const double terms[kTerms] = {static_cast<double>(load(tensor[p])), product(left.get(), right.get(), p),
                                    product(wide_left.get(), wide_right.get(), p)};
      for (int row = 0; row < m; ++row) {
        double sum = -0.0;
        for (int t = 0; t < kTerms; ++t) {
          const double weight = weights[row * kTerms + t];
          if (weight != 0) sum = std::fma(weight, terms[t], sum);
        }
        Out wanted;
        store(sum, &wanted);
        CHECK(std::memcmp(&outputs[row][p], &wanted, sizeof(Out)) == 0,
              "%lld x %lld, rank %lld, M %d, %d threads: candidate %d, element %lld", static_cast<long long>(rows),
              static_cast<long long>(columns), static_cast<long long>(rank), m, threads, row, static_cast<long long>(p));
      }
    }
  }
};

template <class Out>
void every_size(Dtype output) {
  const std::int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 2}, {7, 1171, 9}, {16, 513, 16}};
  for (const auto& size : sizes) {
    for (const int m : {1, 3}) {
      Problem<Out> problem(size[0], size[1], size[2], m);
      problem.sum(output, 1);
      problem.check(1);
    }
  }
}

}  // namespace

CASE(sums_of_products_on_every_instruction_set) {
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (!isa_available(isa)) continue;
    use_isa(isa);
    every_size<Bf16>(Dtype::bf16);
    every_size<F16>(Dtype::f16);
    every_size<float>(Dtype::f32);
    every_size<double>(Dtype::f64);
  }
}

CASE(sums_of_products_on_several_threads) {
  Problem<float> problem(97, 1031, 3, 2);  // three threads' worth, and rows that end within chunks
  for (const int threads : {1, 2, 3, 8}) {
    problem.sum(Dtype::f32, threads);
    problem.check(threads);
  }
}

CASE(a_term_that_nothing_uses_is_not_read) {
  Problem<float> problem(4, 9, 2, 2);
  for (int row = 0; row < problem.m; ++row) problem.weights[row * problem.kTerms + 1] = 0;
  problem.left.reset();
  problem.right.reset(new float[1]);  // it is a product, whose factors hold nothing
  problem.sum(Dtype::f32, 1);
  problem.left.reset(new float[4 * 2]());
  problem.right.reset(new float[2 * 9]());
  problem.check(1);
}
