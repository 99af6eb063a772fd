// Instruction sets: one function body, compiled once for each; which of them runs is chosen at run time.
#pragma once

#include "core/inline.h"

namespace m2m {

// What functions are compiled for; a later one includes the earlier ones.
enum class Isa : int { baseline, avx2, avx512 };

bool isa_available(Isa isa);

// The best available one, unless `use_isa` chose another.
Isa isa_in_use();

// For tests: all following calls use this instruction set. Throws std::invalid_argument if the machine lacks it.
void use_isa(Isa isa);

}  // namespace m2m

#if defined(__x86_64__)
#define M2M_AVX2 __attribute__((target("avx2,fma")))
#if defined(__clang__)  // which would leave out the whole attribute for the width that it does not know
#define M2M_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"), min_vector_width(512)))
#else
#define M2M_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")))
#endif
#else
#define M2M_AVX2
#define M2M_AVX512
#endif

// Defines `Result name Parameters`, which calls the clone for the instruction set in use.
#define M2M_DISPATCH(Result, name, Parameters, Arguments) \
  Result name Parameters {                                \
    switch (isa_in_use()) {                               \
      case Isa::avx512: return name##_avx512 Arguments;   \
      case Isa::avx2: return name##_avx2 Arguments;       \
      case Isa::baseline: break;                          \
    }                                                     \
    return name##_baseline Arguments;                     \
  }

// Defines `Result name Parameters`, which returns `name_body Arguments`. The body must be M2M_INLINE: only then is it compiled
// for the instruction set of the function it is called from.
#define M2M_CLONES(Result, name, Parameters, Arguments)                        \
  Result name##_baseline Parameters { return name##_body Arguments; }          \
  M2M_AVX2 Result name##_avx2 Parameters { return name##_body Arguments; }     \
  M2M_AVX512 Result name##_avx512 Parameters { return name##_body Arguments; } \
  M2M_DISPATCH(Result, name, Parameters, Arguments)
