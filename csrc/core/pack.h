// Packs of numbers as wide as the instruction set's registers, for loops over experts inside loops over elements: the
// compiler does not turn those into vector code by itself.
#pragma once

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

}  // namespace m2m

// As M2M_CLONES, but the body is a template over how many doubles fit a register.
#define M2M_PACK_CLONES(name, Parameters, Arguments)                     \
  void name##_baseline Parameters { name##_body<2> Arguments; }          \
  M2M_AVX2 void name##_avx2 Parameters { name##_body<4> Arguments; }     \
  M2M_AVX512 void name##_avx512 Parameters { name##_body<8> Arguments; } \
  M2M_DISPATCH(void, name, Parameters, Arguments)
