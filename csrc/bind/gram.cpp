// Python's view of the passes over inner products and of the elementwise ones.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/open_plan.h"
#include "gram/gram_pass.h"
#include "gram/vector_merge_pass.h"
#include "stream/elementwise_pass.h"

namespace py = pybind11;

namespace m2m {

namespace {

// Vectors must fill the tensor: rows of `length` elements, or `stride` columns of them.
void check_layout(const StreamPlan& plan, std::int64_t tensor, std::int64_t length, std::int64_t stride) {
  const std::int64_t count = plan.tensors[tensor].count;
  check_range(length, count + 1, "length");
  check_range(stride - 1, std::max<std::int64_t>(count, 1), "stride");
  const bool fills = stride > 1 ? length * stride == count : length == 0 ? count == 0 : count % length == 0;
  if (!fills) throw std::invalid_argument("vectors do not fill a tensor");
}

// layout: [T, 5] origin, first point, points, length, stride.
std::unique_ptr<GramPass> make_gram(const StreamPlan& plan, std::int64_t first, const py::buffer& layout, bool counts_signs,
                                    bool squares, bool ulps) {
  const auto table = to_vector<std::int64_t>(layout, "layout");
  if (table.size() % 5) throw std::invalid_argument("layout does not come in rows of 5");
  check_window(plan, first, table.size() / 5);
  if (counts_signs && ulps) throw std::invalid_argument("no signs of ulps");
  std::vector<GramTensor> tensors;
  for (std::size_t i = 0; i < table.size(); i += 5) {
    const std::int64_t* row = &table[i];
    const std::int64_t t = first + static_cast<std::int64_t>(tensors.size()), n = plan.tensors[t].n_inputs;
    check_range(row[0] + 1, n + 1, "origin");
    check_range(row[1], n + 1, "first point");
    check_range(row[2], n - row[1] + 1, "points");
    if (row[2] > 0) check_layout(plan, t, row[3], row[4]);
    if ((squares || ulps) && row[4] > 1) throw std::invalid_argument("no squares or ulps of columns");
    const Dtype stored = row[2] > 0 ? plan.input(t, static_cast<int>(row[1])).dtype : Dtype::f32;
    tensors.push_back(
        {static_cast<int>(row[0]), static_cast<int>(row[1]), static_cast<int>(row[2]), row[3], row[4], ulps, stored});
  }
  return std::make_unique<GramPass>(plan, first, std::move(tensors), GramExtras{counts_signs, squares});
}

// One row a tensor: length, stride and weights [V, M, N] of each; none for a copied one.
using VectorTable = std::vector<std::tuple<std::int64_t, std::int64_t, py::buffer>>;

std::unique_ptr<VectorMergePass> make_vector_merge(const StreamPlan& plan, std::int64_t first, const VectorTable& table,
                                                   bool allow_nonfinite) {
  check_window(plan, first, table.size());
  std::vector<VectorWeights> tensors;
  for (const auto& [length, stride, weights] : table) {
    const std::int64_t t = first + static_cast<std::int64_t>(tensors.size());
    const PlannedTensor& planned = plan.tensors[t];
    VectorWeights tensor{length, stride, planned.n_inputs, to_vector<double>(weights, "weights")};
    if (planned.rule == Rule::merge) {
      check_layout(plan, t, length, stride);
      const std::int64_t vectors = stride > 1 ? stride : length ? planned.count / length : 0;
      if (static_cast<std::int64_t>(tensor.weights.size()) < vectors * plan.n_outputs * planned.n_inputs)
        throw std::invalid_argument("weights do not fit the vectors of a tensor");
    }
    tensors.push_back(std::move(tensor));
  }
  return std::make_unique<VectorMergePass>(plan, first, std::move(tensors), allow_nonfinite);
}

std::unique_ptr<NearSwapPass> make_near_swap(const StreamPlan& plan, std::int64_t first, std::vector<double> steps,
                                             bool allow_nonfinite) {
  const StreamPlan& checked = with_one_output(plan, first, steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i)
    if (checked.tensors[first + i].rule == Rule::merge && checked.tensors[first + i].n_inputs < 2)
      throw std::invalid_argument("nearswap takes a base model and an expert");
  return std::make_unique<NearSwapPass>(checked, first, std::move(steps), allow_nonfinite);
}

// tensors: floor and weights [N] of each; no weights for a copied one.
std::unique_ptr<FisherPass> make_fisher(const StreamPlan& plan, std::int64_t first,
                                        std::vector<std::pair<double, std::vector<double>>> tensors, bool allow_nonfinite) {
  const StreamPlan& checked = with_one_output(plan, first, tensors.size());
  std::vector<FisherTensor> list;
  for (auto& [floor, weights] : tensors) {
    const PlannedTensor& planned = checked.tensors[first + list.size()];
    if (planned.rule == Rule::merge && (weights.empty() || 2 * weights.size() > std::size_t(planned.n_inputs)))
      throw std::invalid_argument("weights do not fit a tensor's experts and estimates");
    list.push_back({floor, std::move(weights)});
  }
  return std::make_unique<FisherPass>(checked, first, std::move(list), allow_nonfinite);
}

// tensors: whether it has moments, eps, factor and shares [N] of each; no shares for a copied one.
std::unique_ptr<PreconditionedPass> make_preconditioned(
    const StreamPlan& plan, std::int64_t first, std::vector<std::tuple<bool, double, double, std::vector<double>>> tensors,
    bool allow_nonfinite) {
  const StreamPlan& checked = with_one_output(plan, first, tensors.size());
  std::vector<PreconditionedTensor> list;
  for (auto& [has_moments, eps, factor, shares] : tensors) {
    const PlannedTensor& planned = checked.tensors[first + list.size()];
    PreconditionedTensor tensor(has_moments, eps, factor, std::move(shares));
    const std::size_t moments = has_moments ? tensor.used.size() : 0;
    if (planned.rule == Rule::merge &&
        (tensor.shares.empty() || 1 + tensor.shares.size() + moments > std::size_t(planned.n_inputs)))
      throw std::invalid_argument("shares do not fit a tensor's experts and second moments");
    list.push_back(std::move(tensor));
  }
  return std::make_unique<PreconditionedPass>(checked, first, std::move(list), allow_nonfinite);
}

void check_asked(const GramPass& pass, std::int64_t tensor) {
  if (!pass.holds(tensor)) throw std::invalid_argument("the tensor is not in the window");
}

}  // namespace

void register_gram(py::module_& module) {
  py::class_<GramPass, StreamPass>(module, "GramPass", "Looks at inner products of points; if wanted at their signs.")
      .def(py::init(&make_gram), py::keep_alive<1, 2>(), py::arg("plan"), py::arg("first"), py::kw_only(), py::arg("layout"),
           py::arg("counts_signs"), py::arg("squares") = false, py::arg("ulps") = false)
      .def("triangles",
           [](const GramPass& self, std::int64_t tensor) {
             check_asked(self, tensor);
             return self.triangles(tensor);
           })
      .def("square_triangles",
           [](const GramPass& self, std::int64_t tensor) {
             check_asked(self, tensor);
             if (!self.gathers_squares()) throw std::invalid_argument("squares were not wanted");
             return self.square_triangles(tensor);
           })
      .def("signs", [](const GramPass& self, std::int64_t tensor) {
        check_asked(self, tensor);
        const SignCounts& counts = self.signs(tensor);
        return std::make_tuple(counts.largest, counts.same, counts.opposite);
      });
  py::class_<VectorMergePass, StreamPass>(module, "VectorMergePass", "Writes weighted sums, weights a row or column.")
      .def(py::init(&make_vector_merge), py::keep_alive<1, 2>(), py::arg("plan"), py::arg("first"), py::kw_only(),
           py::arg("tensors"), py::arg("allow_nonfinite"));
  py::class_<NearSwapPass, StreamPass>(module, "NearSwapPass", "Moves each base weight by at most t.")
      .def(py::init(&make_near_swap), py::keep_alive<1, 2>(), py::arg("plan"), py::arg("first"), py::kw_only(),
           py::arg("steps"), py::arg("allow_nonfinite"));
  py::class_<FisherPass, StreamPass>(module, "FisherPass", "Averages with a weight an element.")
      .def(py::init(&make_fisher), py::keep_alive<1, 2>(), py::arg("plan"), py::arg("first"), py::kw_only(), py::arg("tensors"),
           py::arg("allow_nonfinite"));
  py::class_<PreconditionedPass, StreamPass>(module, "PreconditionedPass", "Adds task vectors in the metric of a mixture.")
      .def(py::init(&make_preconditioned), py::keep_alive<1, 2>(), py::arg("plan"), py::arg("first"), py::kw_only(),
           py::arg("tensors"), py::arg("allow_nonfinite"));
}

}  // namespace m2m
