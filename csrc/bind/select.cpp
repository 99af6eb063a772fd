// Python's view of the selecting methods: what happens to a tensor, and the pass.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "select/select_pass.h"
#include "stream/plan.h"

namespace py = pybind11;

namespace m2m {

namespace {

// One name for every value of an enumeration, in order.
template <class Enum>
Enum named(const std::string& name, std::initializer_list<const char*> names) {
  int value = 0;
  for (const char* known : names) {
    if (name == known) return static_cast<Enum>(value);
    ++value;
  }
  throw std::invalid_argument("unknown name " + name);
}

ExpertSpec make_expert(const std::string& trim, double scale, bool keeps_norm, std::int64_t dropped, std::int64_t kept,
                       std::pair<std::uint32_t, std::uint32_t> key, std::uint64_t keep_below, double low, double high,
                       bool to_ends, double single, bool inverse_scale) {
  return {named<Trim>(trim, {"all", "none", "largest", "draw", "ranked"}),
          scale,
          keeps_norm,
          dropped,
          kept,
          {key.first, key.second},
          keep_below,
          low,
          high,
          to_ends,
          single,
          inverse_scale};
}

// outputs: weights and divisor of each.
SelectSpec make_spec(const std::string& combine, bool tie_is_plus, bool normalise, double factor, double share,
                     std::int64_t row, std::vector<ExpertSpec> experts,
                     const std::vector<std::pair<std::vector<double>, double>>& outputs) {
  SelectSpec spec{named<Combine>(combine, {"sum", "elect", "energy", "fuse"}),
                  tie_is_plus,
                  false,
                  normalise,
                  factor,
                  share,
                  row,
                  std::move(experts),
                  {}};
  for (const auto& [weights, divisor] : outputs) spec.outputs.push_back({weights, divisor});
  return spec;
}

}  // namespace

void register_select(py::module_& module) {
  py::class_<ExpertSpec>(module, "ExpertSpec", "How one expert's task vector is trimmed and scaled.")
      .def(py::init(&make_expert), py::kw_only(), py::arg("trim"), py::arg("scale") = 1.0, py::arg("keeps_norm") = false,
           py::arg("dropped") = 0, py::arg("kept") = 0, py::arg("key") = std::pair<std::uint32_t, std::uint32_t>{},
           py::arg("keep_below") = 0, py::arg("low") = 0.0, py::arg("high") = 0.0, py::arg("to_ends") = false,
           py::arg("single") = 0.0, py::arg("inverse_scale") = false);
  py::class_<SelectSpec>(module, "SelectSpec", "What a selecting method does to one tensor.")
      .def(py::init(&make_spec), py::kw_only(), py::arg("combine"), py::arg("tie_is_plus") = false,
           py::arg("normalise") = false, py::arg("factor") = 1.0, py::arg("share") = 1.0, py::arg("row") = 1,
           py::arg("experts"), py::arg("outputs"));
  py::class_<SelectPass, StreamPass>(module, "SelectPass", "Looks at tensors as often as they need, then writes them.")
      .def(py::init([](const StreamPlan& plan, bool allow_nonfinite, int digit_bits, std::int64_t whole,
                       std::int64_t guess_keys, std::int64_t sampled_from) {
             return std::make_unique<SelectPass>(plan,
                                                 SelectOptions{allow_nonfinite, digit_bits, whole, guess_keys, sampled_from});
           }),
           py::keep_alive<1, 2>(), py::arg("plan"), py::kw_only(), py::arg("allow_nonfinite"), py::arg("digit_bits"),
           py::arg("whole"), py::arg("guess_keys"), py::arg("sampled_from"))
      .def("add", &SelectPass::add, py::arg("tensor"), py::arg("spec"))
      .def("look", &SelectPass::look);
}

}  // namespace m2m
