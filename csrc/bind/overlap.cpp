// Python's view of the passes that tell what one expert moves from what several do.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bind/open_plan.h"
#include "stream/overlap_pass.h"

namespace py = pybind11;

namespace m2m {

namespace {

// Epsilon and gains [N] of each tensor; no gains for a copied one.
using OverlapTable = std::vector<std::pair<double, std::vector<double>>>;

std::vector<OverlapTensor> overlap_tensors(const StreamPlan& plan, std::int64_t first, OverlapTable table) {
  with_one_output(plan, first, table.size());
  std::vector<OverlapTensor> tensors;
  for (auto& [epsilon, gains] : table) {
    const PlannedTensor& planned = plan.tensors[first + tensors.size()];
    if (planned.rule == Rule::merge && (gains.empty() || 1 + gains.size() > std::size_t(planned.n_inputs)))
      throw std::invalid_argument("gains do not fit a tensor's experts");
    tensors.push_back({epsilon, std::move(gains)});
  }
  return tensors;
}

std::vector<std::pair<std::int64_t, std::int64_t>> counts_of(const OverlapLook& look, std::int64_t tensor) {
  if (!look.holds(tensor)) throw std::invalid_argument("the tensor is not in the window");
  std::vector<std::pair<std::int64_t, std::int64_t>> pairs;
  for (const OverlapCounts& counts : look.counts(tensor)) pairs.emplace_back(counts.shared, counts.alone);
  return pairs;
}

}  // namespace

void register_overlap(py::module_& module) {
  py::class_<OverlapLook, StreamPass>(module, "OverlapLook", "Counts elements that each expert moves, shared and alone.")
      .def(py::init([](const StreamPlan& plan, std::int64_t first, OverlapTable tensors) {
             return std::make_unique<OverlapLook>(plan, first, overlap_tensors(plan, first, std::move(tensors)));
           }),
           py::keep_alive<1, 2>(), py::arg("plan"), py::arg("first"), py::kw_only(), py::arg("tensors"))
      .def("counts", &counts_of, py::arg("tensor"));
  py::class_<OverlapMergePass, StreamPass>(module, "OverlapMergePass", "Averages what several experts move, keeps the rest.")
      .def(py::init([](const StreamPlan& plan, std::int64_t first, OverlapTable tensors, bool allow_nonfinite) {
             auto list = overlap_tensors(plan, first, std::move(tensors));
             return std::make_unique<OverlapMergePass>(plan, first, std::move(list), allow_nonfinite);
           }),
           py::keep_alive<1, 2>(), py::arg("plan"), py::arg("first"), py::kw_only(), py::arg("tensors"),
           py::arg("allow_nonfinite"));
}

}  // namespace m2m
