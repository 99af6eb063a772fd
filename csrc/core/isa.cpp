#include "core/isa.h"

#include <atomic>
#include <stdexcept>

namespace m2m {
namespace {

Isa best_isa() {
  if (isa_available(Isa::avx512)) return Isa::avx512;
  return isa_available(Isa::avx2) ? Isa::avx2 : Isa::baseline;
}

std::atomic<Isa>& chosen_isa() {
  static std::atomic<Isa> isa{best_isa()};
  return isa;
}

}  // namespace

bool isa_available(Isa isa) {
  if (isa == Isa::baseline) return true;
#if defined(__x86_64__)
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::avx2) return has_avx2;
  return has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

Isa isa_in_use() { return chosen_isa().load(std::memory_order_relaxed); }

void use_isa(Isa isa) {
  if (!isa_available(isa)) throw std::invalid_argument("this machine does not have the instruction set");
  chosen_isa().store(isa, std::memory_order_relaxed);
}

}  // namespace m2m
