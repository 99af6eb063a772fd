// Borrows a tensor (torch CPU or CUDA, numpy) through DLPack: checked, without a copy, without torch or numpy headers.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace m2m {

// The part of the DLPack ABI (dmlc/dlpack, version 0.8) that is read here.
namespace dlpack {
enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2 };
enum TypeCode : std::uint8_t { kFloat = 2, kBfloat = 4 };
struct Device {
  std::int32_t type;
  std::int32_t id;
};
struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null means contiguous
  std::uint64_t byte_offset;
};
}  // namespace dlpack

// Holds the capsule for as long as the view lives. The capsule is never marked as consumed, so its own destructor frees it.
class TensorView {
 public:
  // `what` names the argument in errors, for example "experts[3]". Throws ValueError or what the exporter throws.
  TensorView(pybind11::handle tensor, const std::string& what) : what_(what) {
    if (!pybind11::hasattr(tensor, "__dlpack__")) fail("is no tensor (it has no __dlpack__)");
    const auto device = tensor.attr("__dlpack_device__")().cast<std::pair<std::int32_t, std::int32_t>>();
    // -1: the exporter does not synchronise, because the work goes onto the caller's own stream.
    capsule_ =
        device.first == dlpack::kCuda ? tensor.attr("__dlpack__")(pybind11::arg("stream") = -1) : tensor.attr("__dlpack__")();
    void* pointer = PyCapsule_GetPointer(capsule_.ptr(), "dltensor");
    if (pointer == nullptr) throw pybind11::error_already_set();
    tensor_ = static_cast<const dlpack::Tensor*>(pointer);
    read_dtype();
    require_contiguous();
  }

  const std::string& what() const { return what_; }
  Dtype dtype() const { return dtype_; }
  std::int64_t count() const { return count_; }
  int ndim() const { return tensor_->ndim; }
  std::int64_t size(int axis) const { return tensor_->shape[axis]; }
  bool on_cpu() const { return tensor_->device.type == dlpack::kCpu; }
  bool on_cuda(int index) const { return tensor_->device.type == dlpack::kCuda && tensor_->device.id == index; }
  void* data() const { return static_cast<char*>(tensor_->data) + tensor_->byte_offset; }

  [[noreturn]] void fail(const std::string& why) const { throw pybind11::value_error(what_ + " " + why); }

 private:
  void read_dtype() {
    const dlpack::DataType type = tensor_->dtype;
    const bool is_float = type.code == dlpack::kFloat && type.lanes == 1;
    if (is_float && type.bits == 64) {
      dtype_ = Dtype::f64;
    } else if (is_float && type.bits == 32) {
      dtype_ = Dtype::f32;
    } else if (is_float && type.bits == 16) {
      dtype_ = Dtype::f16;
    } else if (type.code == dlpack::kBfloat && type.bits == 16 && type.lanes == 1) {
      dtype_ = Dtype::bf16;
    } else {
      fail("is not float64, float32, float16 or bfloat16");
    }
  }

  void require_contiguous() {
    count_ = 1;
    for (int axis = 0; axis < tensor_->ndim; ++axis) count_ *= tensor_->shape[axis];
    if (tensor_->strides == nullptr || count_ == 0) return;
    std::int64_t step = 1;
    for (int axis = tensor_->ndim - 1; axis >= 0; --axis) {
      if (tensor_->shape[axis] != 1 && tensor_->strides[axis] != step) fail("is not contiguous");
      step *= tensor_->shape[axis];
    }
  }

  std::string what_;
  pybind11::object capsule_;
  const dlpack::Tensor* tensor_ = nullptr;
  Dtype dtype_ = Dtype::f32;
  std::int64_t count_ = 1;
};

}  // namespace m2m
