#include "lora/lora_sum.h"

#include <algorithm>
#include <vector>

#include "core/merge.h"
#include "core/parts.h"
#include "core/widen.h"
#include "lora/product.h"

namespace m2m {
namespace {

constexpr std::int64_t kChunk = 8192;            // elements at a time: a handful of terms in float64 fit a second-level cache
constexpr std::int64_t kMinPerThread = 1 << 15;  // elements that are worth starting a thread for

bool is_used(const LoraSumArgs& args, int t) {
  for (int m = 0; m < args.n_outputs; ++m)
    if (args.weights[std::int64_t{m} * args.n_terms + t] != 0) return true;
  return false;
}

// Elements [first, first + count) of a term, as float64.
void form(const LoraTerm& term, std::int64_t first, std::int64_t count, double* into) {
  if (term.right != nullptr) {
    return lora_product({term.left, term.right, term.dtype, term.rank, term.columns, first, count, into});
  }
  const char* from = static_cast<const char*>(term.left) + first * static_cast<std::int64_t>(size_of(term.dtype));
  widen(from, term.dtype, into, Dtype::f64, count);
}

void sum_range(const LoraSumArgs& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t output_size = size_of(args.output), room = std::min(kChunk, end - begin);
  std::vector<double> rooms(args.n_terms * room);
  std::vector<const void*> formed(args.n_terms, nullptr);
  std::vector<void*> outputs(args.n_outputs);
  for (std::int64_t first = begin; first < end; first += kChunk) {
    const std::int64_t count = std::min(kChunk, end - first);
    for (int t = 0; t < args.n_terms; ++t) {
      if (!is_used(args, t)) continue;
      double* into = rooms.data() + t * room;
      form(args.terms[t], first, count, into);
      formed[t] = into;
    }
    for (int m = 0; m < args.n_outputs; ++m) outputs[m] = static_cast<char*>(args.outputs[m]) + first * output_size;
    merge_cpu({formed.data(), args.weights, outputs.data(), count, args.n_terms, args.n_outputs, Dtype::f64, args.output}, 1);
  }
}

}  // namespace

void lora_sum(const LoraSumArgs& args, int threads) {
  run_parts(args.count, kChunk, kMinPerThread, threads,
            [&](std::int64_t begin, std::int64_t end) { sum_range(args, begin, end); });
}

}  // namespace m2m
