// Python's view of the pass that asks each expert how it stands to the sum of task vectors.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/open_plan.h"
#include "stream/agreement_pass.h"

namespace py = pybind11;

namespace m2m {

namespace {

Agreement agreement_of(const std::string& name) {
  if (name == "consensus") return Agreement::consensus;
  if (name == "largest") return Agreement::largest;
  throw std::invalid_argument("unknown name " + name);
}

// tensors: factor, k and lambdas [N] of each; no lambdas for a copied one.
std::unique_ptr<AgreementPass> make_agreement(const StreamPlan& plan, std::int64_t first, const std::string& agreement,
                                              std::vector<std::tuple<double, std::int64_t, std::vector<double>>> tensors,
                                              bool allow_nonfinite) {
  const StreamPlan& checked = with_one_output(plan, first, tensors.size());
  std::vector<AgreementTensor> list;
  for (auto& [factor, least, lambdas] : tensors) {
    const PlannedTensor& planned = checked.tensors[first + list.size()];
    if (planned.rule == Rule::merge && (lambdas.empty() || 1 + lambdas.size() > std::size_t(planned.n_inputs)))
      throw std::invalid_argument("lambdas do not fit a tensor's experts");
    list.push_back({factor, least, std::move(lambdas)});
  }
  return std::make_unique<AgreementPass>(checked, first, agreement_of(agreement), std::move(list), allow_nonfinite);
}

}  // namespace

void register_agreement(py::module_& module) {
  py::class_<AgreementPass, StreamPass>(module, "AgreementPass", "Adds what several experts have a stake in.")
      .def(py::init(&make_agreement), py::keep_alive<1, 2>(), py::arg("plan"), py::arg("first"), py::arg("agreement"),
           py::kw_only(), py::arg("tensors"), py::arg("allow_nonfinite"));
}

}  // namespace m2m
