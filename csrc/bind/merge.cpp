// Python's door to the drivers: checks everything memory safety rests on, then lets go of the GIL.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "core/isa.h"
#include "core/merge.h"
#ifdef M2M_CUDA_ARCHS
#include "cuda/launch.h"
#endif
#include "bind/tensor_view.h"

namespace py = pybind11;

namespace m2m {
namespace {

std::vector<TensorView> borrow_all(const py::sequence& tensors, const std::string& name) {
  if (tensors.size() == 0) throw py::value_error(name + " is empty");
  std::vector<TensorView> views;
  views.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const py::object tensor = tensors[i];
    views.emplace_back(tensor, name + "[" + std::to_string(i) + "]");
    if (views[i].dtype() != views[0].dtype()) views[i].fail("differs in dtype from " + views[0].what());
  }
  return views;
}

// The borrowed tensors of one call and the MergeArgs that point into them.
class Call {
 public:
  Call(const py::sequence& outputs, const py::sequence& inputs, const py::object& weights)
      : outputs_(borrow_all(outputs, "outputs")), inputs_(borrow_all(inputs, "inputs")), weights_(weights, "weights") {
    const Dtype accumulation = accumulation_of(inputs_[0].dtype());
    if (weights_.dtype() != accumulation) weights_.fail(std::string("is not ") + name_of(accumulation));
    if (!weights_.on_cpu()) weights_.fail("is not on the CPU");
    const std::int64_t m = static_cast<std::int64_t>(outputs_.size()), n = static_cast<std::int64_t>(inputs_.size());
    if (weights_.ndim() != 2 || weights_.size(0) != m || weights_.size(1) != n) {
      weights_.fail("is not [" + std::to_string(m) + ", " + std::to_string(n) + "]");
    }
    for (const TensorView& view : inputs_) input_pointers_.push_back(checked(view).data());
    for (const TensorView& view : outputs_) output_pointers_.push_back(checked(view).data());
  }

  template <class Test>
  void require_device(Test&& is_right, const char* name) const {
    for (const auto* views : {&inputs_, &outputs_}) {
      for (const TensorView& view : *views) {
        if (!is_right(view)) view.fail(std::string("is not on ") + name);
      }
    }
  }

  MergeArgs args() const {
    return MergeArgs{input_pointers_.data(),
                     weights_.data(),
                     output_pointers_.data(),
                     inputs_[0].count(),
                     static_cast<int>(inputs_.size()),
                     static_cast<int>(outputs_.size()),
                     inputs_[0].dtype(),
                     outputs_[0].dtype()};
  }

 private:
  const TensorView& checked(const TensorView& view) const {
    if (view.count() != inputs_[0].count()) view.fail("differs in size from " + inputs_[0].what());
    return view;
  }

  std::vector<TensorView> outputs_;
  std::vector<TensorView> inputs_;
  TensorView weights_;
  std::vector<const void*> input_pointers_;
  std::vector<void*> output_pointers_;
};

void merge(const py::sequence& outputs, const py::sequence& inputs, const py::object& weights, int threads) {
  if (threads < 1) throw py::value_error("threads is " + std::to_string(threads) + ", not 1 or more");
  const Call call(outputs, inputs, weights);
  call.require_device([](const TensorView& view) { return view.on_cpu(); }, "the CPU");
  const py::gil_scoped_release without_gil;
  merge_cpu(call.args(), threads);
}

const std::vector<std::pair<std::string, Isa>>& isa_names() {
  static const std::vector<std::pair<std::string, Isa>> names{
      {"baseline", Isa::baseline}, {"avx2", Isa::avx2}, {"avx512", Isa::avx512}};
  return names;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> available;
  for (const auto& [name, isa] : isa_names()) {
    if (isa_available(isa)) available.push_back(name);
  }
  return available;
}

std::string current_isa() { return isa_names()[static_cast<int>(isa_in_use())].first; }

void use_isa_named(const std::string& wanted) {
  for (const auto& [name, isa] : isa_names()) {
    if (name == wanted) return use_isa(isa);
  }
  throw py::value_error("no instruction set is called " + wanted);
}

#ifdef M2M_CUDA_ARCHS
void merge_on_cuda(const py::sequence& outputs, const py::sequence& inputs, const py::object& weights, int device,
                   std::uintptr_t stream) {
  const Call call(outputs, inputs, weights);
  call.require_device([=](const TensorView& view) { return view.on_cuda(device); }, "that CUDA device");
  const py::gil_scoped_release without_gil;
  merge_cuda(call.args(), device, stream);
}
#endif

}  // namespace

void register_merge(py::module_& module) {
  module.def("merge", &merge, py::arg("outputs"), py::arg("inputs"), py::arg("weights"), py::arg("threads"));
  module.def("available_isas", &available_isas);
  module.def("current_isa", &current_isa);
  module.def("use_isa", &use_isa_named, py::arg("name"));
  module.attr("compiler") = __VERSION__;
#ifdef M2M_CUDA_ARCHS
  module.def("merge_cuda", &merge_on_cuda, py::arg("outputs"), py::arg("inputs"), py::arg("weights"), py::arg("device"),
             py::arg("stream"));
  module.attr("cuda_archs") = M2M_CUDA_ARCHS;
#else
  module.attr("cuda_archs") = "";
#endif
}

}  // namespace m2m
