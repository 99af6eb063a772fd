// Python's view of where sums are computed.
#include <pybind11/pybind11.h>

#include <memory>

#include "core/merge_device.h"
#ifdef M2M_CUDA_ARCHS
#include "cuda/device.h"
#endif

namespace py = pybind11;

namespace m2m {

void register_device(py::module_& module) {
  py::class_<MergeDevice>(module, "MergeDevice", "Where a pass computes its sums.");
#ifdef M2M_CUDA_ARCHS
  module.def(
      "cuda_device",
      [](int device, int workers) -> std::unique_ptr<MergeDevice> { return std::make_unique<CudaDevice>(device, workers); },
      py::arg("device"), py::arg("workers"));
#endif
}

}  // namespace m2m
