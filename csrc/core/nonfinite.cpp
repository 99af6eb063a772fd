#include "core/nonfinite.h"

#include <algorithm>

#include "core/isa.h"

namespace m2m {
namespace {

template <class Bits>
M2M_INLINE std::int64_t first_with_full_exponent(const void* values, Bits exponent, std::int64_t count) {
  constexpr std::int64_t block = 1024;
  const Bits* bits = static_cast<const Bits*>(values);
  for (std::int64_t start = 0; start < count; start += block) {
    const std::int64_t end = std::min(count, start + block);
    // Adding one to a full exponent field carries out of it: no branch, so that the loop becomes vector code.
    const Bits unit = static_cast<Bits>(exponent & (~exponent + 1));
    const Bits beyond = static_cast<Bits>(exponent + unit);
    Bits seen = 0;
    for (std::int64_t i = start; i < end; ++i) seen |= static_cast<Bits>((bits[i] & exponent) + unit);
    if (!(seen & beyond)) continue;
    for (std::int64_t i = start; i < end; ++i)
      if ((bits[i] & exponent) == exponent) return i;
  }
  return count;
}

M2M_INLINE std::int64_t first_nonfinite_body(const void* values, Dtype dtype, std::int64_t count) {
  switch (dtype) {
    case Dtype::f64: return first_with_full_exponent<std::uint64_t>(values, 0x7ff0000000000000u, count);
    case Dtype::f32: return first_with_full_exponent<std::uint32_t>(values, 0x7f800000u, count);
    case Dtype::f16: return first_with_full_exponent<std::uint16_t>(values, 0x7c00u, count);
    case Dtype::bf16: return first_with_full_exponent<std::uint16_t>(values, 0x7f80u, count);
  }
  return count;
}

}  // namespace

M2M_CLONES(std::int64_t, first_nonfinite, (const void* values, Dtype dtype, std::int64_t count), (values, dtype, count))

}  // namespace m2m
