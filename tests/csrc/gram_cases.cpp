// Inner products, squares and signs of points against each of them as it reads, bit for bit: 1 to 20 points of every type, runs
// that begin and end within the lanes, every instruction set.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <type_traits>
#include <vector>

#include "check.h"
#include "core/arithmetic.h"
#include "core/isa.h"
#include "core/ordered_sum.h"
#include "gram/kernel.h"
#include "gram/layout.h"
#include "gram/points.h"
#include "gram/signs.h"

using namespace m2m;

namespace {

// A base and K experts; some elements are the base's. Buffers have exactly their size, so that a sanitizer sees one more.
template <class In>
struct Problem {
  int k, before, count;
  GramTensor tensor;
  std::vector<std::unique_ptr<In[]>> models;
  std::vector<const void*> inputs;
  std::vector<int> numbers;

  Problem(int k, int before, int count) : k(k), before(before), count(count), numbers(k + 1) {
    std::mt19937_64 bits(k * 1000 + count);
    tensor.origin = 0;
    tensor.first_point = 1;
    tensor.n_points = k;
    tensor.length = count;
    std::iota(numbers.begin(), numbers.end(), 0);
    for (int n = 0; n <= k; ++n) {
      models.emplace_back(new In[count]);
      inputs.push_back(models.back().get());
      for (int p = 0; p < count; ++p) {
        store((static_cast<double>(bits() >> 11) * 0x1p-53 - 0.5) * std::exp2(static_cast<double>(bits() % 12)), &models[n][p]);
        if (bits() % 7 == 0) models[n][p] = models[0][p];
      }
    }
  }

  double point(int n, int place) const {
    if (place < before || place >= before + count) return 0;
    const Accumulation<In> value = load(models[n + 1][place - before]) - load(models[0][place - before]);
    return value;
  }
};

void check_lanes(const std::vector<double>& lanes, const std::vector<double>& wanted, const char* what, int k) {
  CHECK(std::memcmp(lanes.data(), wanted.data(), lanes.size() * sizeof(double)) == 0, "%s of %d points", what, k);
}

template <class In>
void check_products(const Problem<In>& problem, const StagedPoints& points, int padded) {
  constexpr bool is_wide = std::is_same_v<In, double>;
  const int k = problem.k;
  std::vector<double> lanes(problem.tensor.pairs() * kLanes, 0.25), squares = lanes, wanted = lanes, wanted_squares = lanes;
  for (int i = 0; i < k; ++i) {
    for (int j = 0; j <= i; ++j) {
      for (int p = 0; p < padded; ++p) {
        const int at = pair_index(i, j) * kLanes + p % kLanes;
        const double x = problem.point(i, p), y = problem.point(j, p);
        const double product = x * y, square = x * x * (y * y);
        wanted[at] += product;
        wanted_squares[at] += square;
      }
    }
  }
  add_products(is_wide ? Products::rounded : Products::exact, points.wide.data(), k, padded, lanes.data());
  add_products(Products::of_squares, points.wide.data(), k, padded, squares.data());
  check_lanes(lanes, wanted, "products", k);
  check_lanes(squares, wanted_squares, "squares", k);
}

template <class In>
void check_signs(const Problem<In>& problem, const StagedPoints& points, int padded) {
  SignCounts signs(problem.tensor);
  if constexpr (std::is_same_v<In, double>) {
    signs.add(points.wide.data(), problem.k, padded);
  } else {
    signs.add(points.narrow.data(), problem.k, padded);
  }
  for (int i = 0; i < problem.k; ++i) {
    for (int j = 0; j <= i; ++j) {
      std::int64_t same = 0, opposite = 0;
      double largest = 0;
      for (int p = 0; p < padded; ++p) {
        const double x = problem.point(i, p), y = problem.point(j, p);
        same += (x > 0 && y > 0) || (x < 0 && y < 0);
        opposite += (x > 0 && y < 0) || (x < 0 && y > 0);
        largest = std::max(largest, std::fabs(x));
      }
      const int pair = pair_index(i, j);
      CHECK(signs.same[pair] == same && signs.opposite[pair] == opposite, "signs of points %d and %d", i, j);
      CHECK(signs.largest[i] == largest, "largest of point %d", i);
    }
  }
}

template <class In>
void check_block(Dtype dtype, int k, int before, int count) {
  const Problem<In> problem(k, before, count);
  const ChunkView chunk{0, 0, count, 0, k + 1, problem.numbers.data(), problem.inputs.data(), nullptr, dtype};
  StagedPoints points;
  stage_points(chunk, problem.tensor, 0, count, before, points);
  const int padded = (before + count + kLanes - 1) / kLanes * kLanes;
  check_products(problem, points, padded);
  check_signs(problem, points, padded);
}

template <class In>
void check_blocks(Dtype dtype) {
  const Isa best = isa_in_use();
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (!isa_available(isa)) continue;
    use_isa(isa);
    for (int k = 1; k <= 20; ++k) check_block<In>(dtype, k, k % 3 * 5, 1 + k * 37 % 240);
    check_block<In>(dtype, 4, 0, kGramBlock);
    check_block<In>(dtype, 7, 15, kGramBlock - 15);
  }
  use_isa(best);
}

}  // namespace

CASE(blocks_of_bf16_points) { check_blocks<Bf16>(Dtype::bf16); }
CASE(blocks_of_f16_points) { check_blocks<F16>(Dtype::f16); }
CASE(blocks_of_f32_points) { check_blocks<float>(Dtype::f32); }
CASE(blocks_of_f64_points) { check_blocks<double>(Dtype::f64); }
