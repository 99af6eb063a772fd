// Packs of numbers as wide as the instruction set's registers, for loops over experts inside loops over elements: the
// compiler does not turn those into vector code by itself.
#pragma once

#include <cmath>
#include <cstring>

#include "core/isa.h"

namespace m2m {

template <class T, int kWidth>
using Pack __attribute__((vector_size(sizeof(T) * kWidth))) = T;

template <class APack, class T>
M2M_INLINE void load_pack(const T* from, APack& pack) {
  std::memcpy(&pack, from, sizeof(APack));
}

template <class APack, class T>
M2M_INLINE void store_pack(const APack& pack, T* to) {
  std::memcpy(to, &pack, sizeof(APack));
}

// sum += left * right, rounded once. Written so that compilers make one instruction of it.
template <class T, int kWidth>
M2M_INLINE void add_product(const Pack<T, kWidth>& left, const Pack<T, kWidth>& right, Pack<T, kWidth>& sum) {
  Pack<T, kWidth> sums;
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) sums[i] = std::fma(left[i], right[i], sum[i]);
  sum = sums;
}

}  // namespace m2m

// As M2M_CLONES, but the body is a template over how many doubles fit a register.
#define M2M_PACK_CLONES(name, Parameters, Arguments)                     \
  void name##_baseline Parameters { name##_body<2> Arguments; }          \
  M2M_AVX2 void name##_avx2 Parameters { name##_body<4> Arguments; }     \
  M2M_AVX512 void name##_avx512 Parameters { name##_body<8> Arguments; } \
  M2M_DISPATCH(void, name, Parameters, Arguments)
