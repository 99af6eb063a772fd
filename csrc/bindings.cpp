// The compiled module `m2m._core`: a table of contents.
#include <pybind11/pybind11.h>

namespace m2m {
void register_merge(pybind11::module_& module);   // bind_merge.cpp
void register_stream(pybind11::module_& module);  // bind_stream.cpp
}  // namespace m2m

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of m2m; private, use m2m.ops.";
  m2m::register_merge(module);
  m2m::register_stream(module);
}
