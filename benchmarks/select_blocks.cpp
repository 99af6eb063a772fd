// What the selecting merges' arithmetic costs an element, data in the first-level cache, on one thread, least of many runs:
//
//   g++ -std=c++17 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -Icsrc benchmarks/select_blocks.cpp
//       csrc/core/isa.cpp csrc/core/nonfinite.cpp csrc/core/philox.cpp csrc/select/*.cpp (but select_pass, state and chunk)
//
// Four experts in bfloat16, near the base; a row of the table is nanoseconds an element of one expert, or of all four.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

#include "core/arithmetic.h"
#include "core/isa.h"
#include "core/nonfinite.h"
#include "core/philox.h"
#include "select/blocks.h"
#include "select/experts.h"

using namespace m2m;

namespace {

constexpr int kExperts = 4, kRuns = 500, kCalls = 40;

double nanoseconds(const std::function<void()>& call) {
  double least = 1e18;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) call();
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
    least = std::min(least, taken.count() / kCalls / kSelectBlock);
  }
  return least;
}

void row(const char* what, const char* of, const std::function<void()>& call) {
  std::printf("| %s | %s | %.3f |\n", what, of, nanoseconds(call));
}

struct Block {
  std::vector<Bf16> models[kExperts + 1];
  std::vector<float> vectors = std::vector<float>(kExperts * kSelectBlock), base = std::vector<float>(kSelectBlock);
  std::vector<Bf16> out = std::vector<Bf16>(kSelectBlock);

  Block() {
    std::mt19937 bits(1);
    std::normal_distribution<float> normal(0, 0.02f);
    for (float& x : base) x = normal(bits);
    for (int n = 0; n <= kExperts; ++n)
      for (const float x : base) models[n].push_back(round_to_bf16(x + (n ? normal(bits) / 20 : 0)));
    for (int n = 0; n < kExperts; ++n) find_vector(n);
  }
  void find_vector(int n) {
    task_vector(Dtype::bf16, models[0].data(), models[n + 1].data(), 0, kSelectBlock, vectors.data() + n * kSelectBlock);
  }
};

void measure(Block& block) {
  std::vector<ExpertBlock<float>> experts;
  for (int n = 0; n < kExperts; ++n) experts.push_back({block.vectors.data() + n * kSelectBlock, nullptr, 0.25, 1, 0.25});
  std::uint32_t keys[kSelectBlock], mask[kSelectBlock];
  alignas(64) std::uint32_t room[philox_room(kSelectBlock)];
  std::uint64_t wide[kSelectBlock], found[kSelectBlock];
  double sums[kSelectBlock];
  float* vector = block.vectors.data();
  const LocalEdge least{0, 0}, none{UINT64_MAX, 0};
  row("bad numbers", "input", [&] { first_nonfinite(block.models[0].data(), Dtype::bf16, kSelectBlock); });
  row("task vector", "expert", [&] { block.find_vector(0); });
  row("keys", "expert",
      [&] { magnitude_keys(Dtype::bf16, block.models[0].data(), block.models[1].data(), 0, kSelectBlock, keys); });
  std::vector<std::uint32_t> sorted(keys, keys + kSelectBlock);
  std::sort(sorted.begin(), sorted.end());
  const Bracket bracket{sorted[kSelectBlock / 2 - 1], sorted[kSelectBlock / 2 + 1]};
  BracketCounts counts;
  row("around a bracket", "expert", [&] { find_between(keys, kSelectBlock, bracket, counts, found); });
  row("trimming by edges", "expert", [&] { keep_between(least, none, kSelectBlock, vector); });
  row("draws", "expert", [&] { draw_words({1, 2}, kSelectBlock, kSelectBlock, room); });
  row("trimming by draws", "expert", [&] { keep_drawn(room, UINT32_MAX, kSelectBlock, vector); });
  row("variances", "position", [&] { variance_keys(vector, kExperts, kSelectBlock, wide); });
  row("mask of variances", "position", [&] { mask_inside(wide, least, kSelectBlock, mask); });
  row("sum", "position", [&] { add_up(experts.data(), kExperts, kSelectBlock, sums); });
  row("election", "position", [&] { elect(experts.data(), kExperts, {false, false, false}, kSelectBlock, sums); });
  row("election, normalised", "position", [&] { elect(experts.data(), kExperts, {false, false, true}, kSelectBlock, sums); });
  row("store", "position", [&] { add_to_base(block.base.data(), sums, 1, 1, kSelectBlock, Dtype::bf16, block.out.data(), 0); });
}

}  // namespace

int main() {
  const char* names[] = {"baseline", "AVX2", "AVX-512"};
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (!isa_available(isa)) continue;
    use_isa(isa);
    Block block;
    std::printf("\n%s\n\n| what | an element of one | ns |\n| --- | --- | --- |\n", names[static_cast<int>(isa)]);
    measure(block);
  }
}
