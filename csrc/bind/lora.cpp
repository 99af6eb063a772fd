// Python's door to sums of tensors and products in memory: checks everything memory safety rests on.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bind/tensor_view.h"
#include "lora/lora_sum.h"

namespace py = pybind11;

namespace m2m {
namespace {

std::vector<TensorView> borrow_on_cpu(const py::sequence& tensors, const std::string& name) {
  std::vector<TensorView> views;
  views.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const py::object tensor = tensors[i];
    views.emplace_back(tensor, name + "[" + std::to_string(i) + "]");
    if (!views[i].on_cpu()) views[i].fail("is not on the CPU");
  }
  return views;
}

// One term and the tensors it points into: a tensor, or two factors.
class Term {
 public:
  Term(const py::sequence& parts, const std::string& name, std::int64_t count) : views_(borrow_on_cpu(parts, name)) {
    if (views_.size() == 1) {
      if (views_[0].count() != count) views_[0].fail("has not the outputs' size");
      return;
    }
    if (views_.size() != 2) throw py::value_error(name + " is not one tensor or two factors");
    const TensorView &left = views_[0], &right = views_[1];
    if (left.dtype() != Dtype::f32 && left.dtype() != Dtype::f64) left.fail("is not float32 or float64");
    if (right.dtype() != left.dtype()) right.fail("differs in dtype from " + left.what());
    if (left.ndim() != 2 || right.ndim() != 2 || left.size(1) != right.size(0) || left.size(1) < 1) {
      right.fail("does not fit " + left.what());
    }
    if (left.size(0) * right.size(1) != count) right.fail("and " + left.what() + " have not the outputs' size");
  }

  LoraTerm term() const {
    if (views_.size() == 1) return {views_[0].data(), nullptr, views_[0].dtype(), 0, 0};
    return {views_[0].data(), views_[1].data(), views_[0].dtype(), views_[1].size(0), views_[1].size(1)};
  }

 private:
  std::vector<TensorView> views_;
};

void sum(const py::sequence& outputs, const py::sequence& terms, const py::object& weights, int threads) {
  if (threads < 1) throw py::value_error("threads is " + std::to_string(threads) + ", not 1 or more");
  const std::vector<TensorView> outs = borrow_on_cpu(outputs, "outputs");
  const TensorView matrix(weights, "weights");
  if (outs.empty() || terms.size() == 0) throw py::value_error("there are no outputs or no terms");
  const std::int64_t m = static_cast<std::int64_t>(outs.size()), t = static_cast<std::int64_t>(terms.size());
  if (!matrix.on_cpu() || matrix.dtype() != Dtype::f64 || matrix.ndim() != 2 || matrix.size(0) != m || matrix.size(1) != t) {
    matrix.fail("is not float64 [" + std::to_string(m) + ", " + std::to_string(t) + "] on the CPU");
  }
  std::vector<void*> pointers;
  for (const TensorView& out : outs) {
    if (out.count() != outs[0].count() || out.dtype() != outs[0].dtype()) out.fail("differs from " + outs[0].what());
    pointers.push_back(out.data());
  }
  std::vector<Term> borrowed;
  std::vector<LoraTerm> plain;
  for (std::int64_t i = 0; i < t; ++i) {
    const py::object parts = terms[i];
    borrowed.emplace_back(parts, "terms[" + std::to_string(i) + "]", outs[0].count());
    plain.push_back(borrowed.back().term());
  }
  const LoraSumArgs args{plain.data(),        static_cast<const double*>(matrix.data()),
                         pointers.data(),     outs[0].count(),
                         static_cast<int>(t), static_cast<int>(m),
                         outs[0].dtype()};
  const py::gil_scoped_release without_gil;
  lora_sum(args, threads);
}

}  // namespace

void register_lora(py::module_& module) {
  module.def("lora_sum", &sum, py::arg("outputs"), py::arg("terms"), py::arg("weights"), py::arg("threads"));
}

}  // namespace m2m
