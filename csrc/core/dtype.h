// The dtypes of merging, and the one place where a run-time dtype becomes a compile-time type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "core/inline.h"

namespace m2m {

enum class Dtype : int { f64, f32, f16, bf16 };

// Storage of the 16-bit formats: bits only, the arithmetic is in core/arithmetic.h.
struct F16 {
  std::uint16_t bits;
};
struct Bf16 {
  std::uint16_t bits;
};

inline std::size_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64: return 8;
    case Dtype::f32: return 4;
    case Dtype::f16:
    case Dtype::bf16: return 2;
  }
  throw std::invalid_argument("unknown dtype");
}

inline const char* name_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64: return "float64";
    case Dtype::f32: return "float32";
    case Dtype::f16: return "float16";
    case Dtype::bf16: return "bfloat16";
  }
  throw std::invalid_argument("unknown dtype");
}

// Weights and sums of `dtype` inputs are in this dtype.
inline Dtype accumulation_of(Dtype dtype) { return dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32; }

template <class T>
struct TypeTag {
  using type = T;
};

// Calls `visit(TypeTag<T>{})` with the storage type of `dtype`. Always inlined, so that a visitor called from a
// function with an instruction-set attribute is compiled for that instruction set.
template <class Visit>
M2M_INLINE void dispatch(Dtype dtype, Visit&& visit) {
  switch (dtype) {
    case Dtype::f64: return visit(TypeTag<double>{});
    case Dtype::f32: return visit(TypeTag<float>{});
    case Dtype::f16: return visit(TypeTag<F16>{});
    case Dtype::bf16: return visit(TypeTag<Bf16>{});
  }
}

}  // namespace m2m
