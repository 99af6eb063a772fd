#include "lora/product.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/float_environment.h"
#include "core/isa.h"

namespace m2m {
namespace {

constexpr std::int64_t kBlock = 512;  // columns at a time: their share of `right` stays in the cache from row to row
constexpr int kGroup = 8;             // most terms added to a sum between its load and its store

// A product of two floats is exact in float64, so that fusing it into the addition changes no bit.
template <class T>
M2M_INLINE double add_product(double left, T right, double sum) {
  if constexpr (std::is_same_v<T, float>) return std::fma(left, static_cast<double>(right), sum);
  return left * right + sum;
}

template <int Group, class T>
M2M_INLINE void add_group(const T* left, const T* right, std::int64_t columns, std::int64_t count, double* __restrict sums) {
  double factor[Group];
  const T* row[Group];
  for (int g = 0; g < Group; ++g) {
    factor[g] = left[g];
    row[g] = right + g * columns;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    double sum = sums[i];
#pragma GCC unroll 8
    for (int g = 0; g < Group; ++g) sum = add_product(factor[g], row[g][i], sum);
    sums[i] = sum;
  }
}

// Adds all terms in order: as many whole groups of `Group` as there are, the rest in smaller ones.
template <int Group, class T>
M2M_INLINE void add_terms(const T* left, const T* right, std::int64_t rank, std::int64_t columns, std::int64_t count,
                          double* __restrict sums) {
  for (; rank >= Group; rank -= Group) {
    add_group<Group>(left, right, columns, count, sums);
    left += Group;
    right += Group * columns;
  }
  if constexpr (Group > 1) add_terms<Group / 2>(left, right, rank, columns, count, sums);
}

// The columns [from, to) of all rows that the run touches; -0 is the exact neutral element of addition.
template <class T>
M2M_INLINE void multiply_columns(const LoraProductArgs& args, std::int64_t from, std::int64_t to) {
  const std::int64_t end = args.first + args.count;
  for (std::int64_t row = args.first / args.columns; row * args.columns < end; ++row) {
    const std::int64_t start = row * args.columns;
    const std::int64_t low = std::max(args.first, start + from);
    const std::int64_t count = std::min(end, start + to) - low;
    if (count <= 0) continue;
    double* sums = args.sums + (low - args.first);
    std::fill_n(sums, count, -0.0);
    const T* left = static_cast<const T*>(args.left) + row * args.rank;
    const T* right = static_cast<const T*>(args.right) + (low - start);
    add_terms<kGroup>(left, right, args.rank, args.columns, count, sums);
  }
}

M2M_INLINE void multiply_body(const LoraProductArgs& args) {
  for (std::int64_t from = 0; from < args.columns; from += kBlock) {
    const std::int64_t to = std::min(args.columns, from + kBlock);
    if (args.dtype == Dtype::f64) {
      multiply_columns<double>(args, from, to);
    } else {
      multiply_columns<float>(args, from, to);
    }
  }
}

M2M_CLONES(void, multiply, (const LoraProductArgs& args), (args))

}  // namespace

void lora_product(const LoraProductArgs& args) {
  const DefaultFloatEnvironment environment;
  multiply(args);
}

}  // namespace m2m
