// Every 16-bit number, and every place where rounding to one turns over.
#include <cmath>
#include <limits>

#include "check.h"
#include "core/arithmetic.h"

using namespace m2m;

namespace {

// The formats by their definition, independent of the bit tricks under test.
template <class Half>
double by_definition(unsigned magnitude) {
  constexpr bool is_f16 = std::is_same_v<Half, F16>;
  constexpr int mantissa_bits = is_f16 ? 10 : 7;
  constexpr int bias = is_f16 ? 15 : 127;
  const unsigned exponent = magnitude >> mantissa_bits;
  const unsigned mantissa = magnitude & ((1u << mantissa_bits) - 1);
  if (exponent == 0) return std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return std::ldexp(mantissa + (1u << mantissa_bits), static_cast<int>(exponent) - bias - mantissa_bits);
}

// The first magnitude that is not finite; by_definition gives the number that would follow the largest.
template <class Half>
constexpr unsigned kInfinity = std::is_same_v<Half, F16> ? 0x7c00u : 0x7f80u;

template <class Half, class Wide>
unsigned rounded(Wide value) {
  Half half;
  store(value, &half);
  return half.bits;
}

// Between neighbours, just below the middle, the middle and just above it decide rounding everywhere, as it is monotonic.
template <class Half, class Wide>
void check_stores() {
  const Wide infinity = std::numeric_limits<Wide>::infinity();
  for (unsigned low = 0; low < kInfinity<Half>; ++low) {
    const Wide below = static_cast<Wide>(by_definition<Half>(low));
    const Wide middle = static_cast<Wide>((by_definition<Half>(low) + by_definition<Half>(low + 1)) / 2);
    const unsigned even = low % 2 == 0 ? low : low + 1;
    for (const unsigned sign : {0u, 0x8000u}) {
      const Wide flip = sign ? Wide(-1) : Wide(1);
      CHECK((rounded<Half, Wide>(flip * below) == (sign | low)), "%x is not itself", low);
      CHECK((rounded<Half, Wide>(flip * std::nextafter(middle, Wide(0))) == (sign | low)), "below the middle of %x", low);
      CHECK((rounded<Half, Wide>(flip * middle) == (sign | even)), "the middle of %x", low);
      CHECK((rounded<Half, Wide>(flip * std::nextafter(middle, infinity)) == (sign | (low + 1))), "above %x", low);
    }
  }
  CHECK((rounded<Half, Wide>(infinity) == kInfinity<Half>), "infinity");
  CHECK((rounded<Half, Wide>(std::numeric_limits<Wide>::max()) == kInfinity<Half>), "the largest overflows");
  CHECK((rounded<Half, Wide>(std::numeric_limits<Wide>::denorm_min()) == 0), "the smallest underflows");
  const Wide nan = std::numeric_limits<Wide>::quiet_NaN();
  for (const Wide one : {nan, -nan}) {
    const unsigned bits = rounded<Half, Wide>(one);
    CHECK(bits == (std::is_same_v<Half, F16> ? 0x7e00u : 0x7fc0u), "NaN became %x", bits);
  }
}

template <class Half>
void check_loads() {
  for (unsigned bits = 0; bits < 0x10000u; ++bits) {
    const float value = load(Half{static_cast<std::uint16_t>(bits)});
    const unsigned magnitude = bits & 0x7fffu;
    if (magnitude > kInfinity<Half>) {
      CHECK(std::isnan(value), "%x is no NaN", bits);
      continue;
    }
    const double wanted = magnitude == kInfinity<Half> ? INFINITY : by_definition<Half>(magnitude);
    CHECK(std::fabs(value) == wanted, "%x became %a", bits, value);
    CHECK(std::signbit(value) == (bits >= 0x8000u), "%x lost its sign", bits);
  }
}

}  // namespace

CASE(loads_bf16) { check_loads<Bf16>(); }
CASE(loads_f16) { check_loads<F16>(); }
CASE(stores_float_as_bf16) { check_stores<Bf16, float>(); }
CASE(stores_float_as_f16) { check_stores<F16, float>(); }
CASE(stores_double_as_bf16_without_rounding_twice) { check_stores<Bf16, double>(); }
CASE(stores_double_as_f16_without_rounding_twice) { check_stores<F16, double>(); }

CASE(nan_payloads_do_not_travel) {
  float single;
  double twice;
  store(bit_cast<float>(0xffc12345u), &single);
  CHECK(bit_cast<std::uint32_t>(single) == 0x7fc00000u, "float");
  store(bit_cast<double>(std::uint64_t{0xfff0000000000001u}), &twice);
  CHECK(bit_cast<std::uint64_t>(twice) == 0x7ff8000000000000u, "double");
  store(bit_cast<float>(0xffc12345u), &twice);
  CHECK(bit_cast<std::uint64_t>(twice) == 0x7ff8000000000000u, "float to double");
}

CASE(minus_zero_is_the_neutral_element) {
  for (const float value : {0.0f, -0.0f, 1.0f, -1e-45f}) {
    CHECK(bit_cast<std::uint32_t>(fused_multiply_add(1.0f, value, -0.0f)) == bit_cast<std::uint32_t>(value), "%a", value);
  }
}
