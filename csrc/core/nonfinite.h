// Finds NaN and infinities by their exponent bits; several times faster than the merge itself.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace m2m {

// Index of the first NaN or infinity, or `count` if there is none. `values` are aligned to their element.
std::int64_t first_nonfinite(const void* values, Dtype dtype, std::int64_t count);

}  // namespace m2m
