// The compiled module `m2m._core`: a table of contents.
#include <pybind11/pybind11.h>

namespace m2m {
void register_merge(pybind11::module_& module);      // bind/merge.cpp
void register_lora(pybind11::module_& module);       // bind/lora.cpp
void register_plan(pybind11::module_& module);       // bind/plan.cpp
void register_device(pybind11::module_& module);     // bind/device.cpp: before passes
void register_stream(pybind11::module_& module);     // bind/stream.cpp: before all that adds passes
void register_gram(pybind11::module_& module);       // bind/gram.cpp
void register_overlap(pybind11::module_& module);    // bind/overlap.cpp
void register_agreement(pybind11::module_& module);  // bind/agreement.cpp
void register_select(pybind11::module_& module);     // bind/select.cpp
void register_mapped(pybind11::module_& module);     // bind/mapped.cpp
}  // namespace m2m

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of m2m; private, use m2m.ops.";
  m2m::register_merge(module);
  m2m::register_lora(module);
  m2m::register_plan(module);
  m2m::register_device(module);
  m2m::register_stream(module);
  m2m::register_gram(module);
  m2m::register_overlap(module);
  m2m::register_agreement(module);
  m2m::register_select(module);
  m2m::register_mapped(module);
}
