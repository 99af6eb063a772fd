// What bindings of passes share: plain arrays from Python, and the plan they speak about.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "stream/executor.h"

namespace m2m {

// A plan with its files: what Python holds. Passes and streams keep it alive.
struct OpenPlan : StreamPlan {
  StreamFiles files;

  OpenPlan(StreamPlan plan, int most_open) : StreamPlan(std::move(plan)), files(*this, most_open) {}
};

template <class T>
std::vector<T> to_vector(const pybind11::buffer& buffer, const char* name) {
  const pybind11::buffer_info info = buffer.request();
  if (!info.item_type_is_equivalent_to<T>() || info.ndim != 1 || (info.size > 0 && info.strides[0] != sizeof(T)))
    throw std::invalid_argument(std::string(name) + " is not a plain array of the wanted type");
  const T* data = static_cast<const T*>(info.ptr);
  return std::vector<T>(data, data + info.size);
}

inline void check_range(std::int64_t value, std::int64_t end, const char* name) {
  if (value < 0 || value >= end) throw std::invalid_argument(std::string(name) + " is out of range");
}

// Do `count` tensors from `first` on lie in the plan?
inline void check_window(const StreamPlan& plan, std::int64_t first, std::size_t count) {
  const auto n_tensors = static_cast<std::int64_t>(plan.tensors.size());
  if (first < 0 || first > n_tensors || static_cast<std::int64_t>(count) > n_tensors - first)
    throw std::invalid_argument("the window is not within the plan");
}

// The plan, for a pass that writes one output of `count` tensors from `first` on.
inline const StreamPlan& with_one_output(const StreamPlan& plan, std::int64_t first, std::size_t count) {
  check_window(plan, first, count);
  if (plan.n_outputs != 1) throw std::invalid_argument("the pass writes one output");
  return plan;
}

}  // namespace m2m
