// What happens to one element, written once: the CPU loop, the CUDA kernel and the emulated kernel all call this.
//
// A sum starts at -0 (the exact neutral element: -0 + x is x, for +0 and -0 too), adds its terms with explicit fma, and is
// rounded once, to nearest even, when it is stored. A term whose weight is zero is left out: an absent expert changes no bit,
// not even the sign of a zero. A NaN is stored as the one canonical quiet NaN, because payloads differ between machines.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "core/inline.h"

namespace m2m {

// The type that inputs of type T are summed in.
template <class T>
struct AccumulationOf {
  using type = float;
};
template <>
struct AccumulationOf<double> {
  using type = double;
};
template <class T>
using Accumulation = typename AccumulationOf<T>::type;

template <class To, class From>
M2M_HOST_DEVICE To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

M2M_HOST_DEVICE float fused_multiply_add(float a, float x, float sum) { return fmaf(a, x, sum); }
M2M_HOST_DEVICE double fused_multiply_add(double a, double x, double sum) { return fma(a, x, sum); }

// ---- loads: exact ----

M2M_HOST_DEVICE double load(double stored) { return stored; }
M2M_HOST_DEVICE float load(float stored) { return stored; }
M2M_HOST_DEVICE float load(Bf16 stored) { return bit_cast<float>(std::uint32_t{stored.bits} << 16); }

M2M_HOST_DEVICE float load(F16 stored) {
  const std::uint32_t sign = (stored.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = stored.bits & 0x7fffu;
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);  // rebias the exponent: 127 - 15
  const std::uint32_t not_finite = (magnitude << 13) | 0x7f800000u;
  // A subnormal is an integer count of 2^-24.
  const std::uint32_t subnormal = bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
  const std::uint32_t small_or_normal = magnitude < 0x0400u ? subnormal : normal;
  return bit_cast<float>(sign | (magnitude >= 0x7c00u ? not_finite : small_or_normal));
}

// ---- stores: one rounding to nearest even ----

// Rounds to float with the last bit sticky ("to odd"): 24 bits and a sticky bit are enough for a second rounding to 11 or 8
// bits to be the only one that counts (Boldo and Melquiond 2008, theorem 3).
M2M_HOST_DEVICE float round_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  const double back = nearest;
  std::uint32_t bits = bit_cast<std::uint32_t>(nearest);
  if (fabs(back) > fabs(value)) bits -= 1;
  if (back != value && value == value) bits |= 1;
  return bit_cast<float>(bits);
}

M2M_HOST_DEVICE Bf16 round_to_bf16(float value) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return Bf16{static_cast<std::uint16_t>(is_nan ? 0x7fc0u : rounded)};
}

M2M_HOST_DEVICE F16 round_to_f16(float value) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  // Below 2^-14, adding 1/2 leaves a count of 2^-24 in the low bits, rounded to nearest even by the addition itself.
  const std::uint32_t subnormal = bit_cast<std::uint32_t>(bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const std::uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  const std::uint32_t number = magnitude >= 0x477ff000u ? 0x7c00u : finite;  // 65520 and above round to infinity
  return F16{static_cast<std::uint16_t>(magnitude > 0x7f800000u ? 0x7e00u : sign | number)};
}

M2M_HOST_DEVICE void store(float sum, float* out) { *out = sum == sum ? sum : bit_cast<float>(0x7fc00000u); }
M2M_HOST_DEVICE void store(float sum, double* out) {
  *out = sum == sum ? sum : bit_cast<double>(std::uint64_t{0x7ff8000000000000u});
}
M2M_HOST_DEVICE void store(float sum, F16* out) { *out = round_to_f16(sum); }
M2M_HOST_DEVICE void store(float sum, Bf16* out) { *out = round_to_bf16(sum); }
M2M_HOST_DEVICE void store(double sum, double* out) {
  *out = sum == sum ? sum : bit_cast<double>(std::uint64_t{0x7ff8000000000000u});
}
M2M_HOST_DEVICE void store(double sum, float* out) { store(static_cast<float>(sum), out); }
M2M_HOST_DEVICE void store(double sum, F16* out) { *out = round_to_f16(round_to_odd(sum)); }
M2M_HOST_DEVICE void store(double sum, Bf16* out) { *out = round_to_bf16(round_to_odd(sum)); }

}  // namespace m2m
