// What can go wrong while streaming, as numbers: the caller knows the names and writes the sentence.
#pragma once

#include <cstdint>
#include <exception>

namespace m2m {

enum class FailureKind : int {
  read,       // the system could not read an input file; `code` is errno
  shrunk,     // an input file ended early
  write,      // the system could not write an output file; `code` is errno
  nonfinite,  // an input element is NaN or infinite
  overflow,   // all inputs are finite, but a sum is beyond the output's largest number
  unequal,    // inputs of a copied tensor differ
  factor,     // a factor of an input that is a product is NaN or infinite; `code` is its LoraSide
  negative,   // an estimate that cannot be negative is
  changed,    // two passes over a tensor met different elements; whose they are is not known
};

struct StreamFailure : std::exception {
  FailureKind kind;
  std::int64_t tensor;   // index into the plan's tensors
  int model;             // input n, or output m for `write` and `overflow`
  std::int64_t element;  // first bad element (byte of a copied tensor); 0 for `read`, `shrunk`, `write` and `changed`
  int code;              // errno, a LoraSide, or 0

  StreamFailure(FailureKind kind, std::int64_t tensor, int model, std::int64_t element = 0, int code = 0)
      : kind(kind), tensor(tensor), model(model), element(element), code(code) {}
  const char* what() const noexcept override { return "streamed merge failed"; }
};

}  // namespace m2m
