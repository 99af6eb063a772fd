// Python's view of the stream: passes over a plan, an executor to wait for.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/open_plan.h"
#include "stream/executor.h"
#include "stream/merge_pass.h"
#include "stream/plan_check.h"
#include "stream/rider_pass.h"

namespace py = pybind11;

namespace m2m {

namespace {

std::unique_ptr<StreamExecutor> make_stream(const OpenPlan& plan, StreamPass& pass, int threads, std::int64_t slot_bytes,
                                            std::pair<std::int64_t, std::int64_t> start, std::int64_t end) {
  const StreamOptions options{threads, slot_bytes, {start.first, start.second}, end};
  check_options(options, plan);
  return std::make_unique<StreamExecutor>(plan, plan.files, pass, options);
}

// block_inputs: N of each block; weights: [M, N] of each block, one after another.
std::unique_ptr<MergePass> make_merge(const StreamPlan& plan, std::int64_t first, const py::buffer& block_of,
                                      const py::buffer& block_inputs, const py::buffer& weights, bool allow_nonfinite,
                                      MergeDevice* device) {
  MergeWeights merge{first, to_vector<std::int64_t>(block_of, "block_of"), {}};
  const auto all = to_vector<double>(weights, "weights");
  auto next = all.begin();
  for (const std::int64_t n : to_vector<std::int64_t>(block_inputs, "block_inputs")) {
    check_range(n, (all.end() - next) / plan.n_outputs + 1, "block");
    merge.blocks.push_back({static_cast<int>(n), {next, next + n * plan.n_outputs}});
    next += n * plan.n_outputs;
  }
  check_weights(merge, plan);
  return std::make_unique<MergePass>(plan, merge, allow_nonfinite, device != nullptr ? *device : cpu_device());
}

std::pair<std::int64_t, std::int64_t> to_pair(const StreamPosition& position) { return {position.tensor, position.element}; }

using FailureTuple = std::tuple<std::string, std::int64_t, int, std::int64_t, int>;

std::optional<FailureTuple> failure_of(StreamExecutor& stream) {
  static const char* const names[] = {"read",    "shrunk", "write",    "nonfinite", "overflow",
                                      "unequal", "factor", "negative", "changed"};
  try {
    stream.rethrow();
    return std::nullopt;
  } catch (const StreamFailure& failure) {
    return FailureTuple{names[static_cast<int>(failure.kind)], failure.tensor, failure.model, failure.element, failure.code};
  }
}

}  // namespace

void register_stream(py::module_& module) {
  using release = py::call_guard<py::gil_scoped_release>;
  py::class_<StreamPass>(module, "StreamPass", "What is done with the chunks of some tensors of a plan.")
      .def_property_readonly("writes", &StreamPass::writes);
  py::class_<MergePass, StreamPass>(module, "MergePass", "Writes weighted sums.")
      .def(py::init(&make_merge), py::keep_alive<1, 2>(), py::keep_alive<1, 8>(), py::arg("plan"), py::arg("first"),
           py::kw_only(), py::arg("block_of"), py::arg("block_inputs"), py::arg("weights"), py::arg("allow_nonfinite"),
           py::arg("device") = nullptr);
  py::class_<RiderPass, StreamPass>(module, "RiderPass", "A writing pass, and one that looks at the same chunks.")
      .def(py::init([](const StreamPlan& plan, StreamPass& writer, StreamPass& rider) {
             return std::make_unique<RiderPass>(plan, writer, rider);
           }),
           py::keep_alive<1, 2>(), py::keep_alive<1, 3>(), py::keep_alive<1, 4>(), py::arg("plan"), py::arg("writer"),
           py::arg("rider"));
  py::class_<StreamExecutor>(module, "Stream", "A pass under way; it starts when it is made and stops when it is dropped.")
      .def(py::init(&make_stream), py::keep_alive<1, 2>(), py::keep_alive<1, 3>(), py::arg("plan"), py::arg("stream_pass"),
           py::kw_only(), py::arg("threads"), py::arg("slot_bytes"), py::arg("start"), py::arg("end"))
      .def("wait", &StreamExecutor::wait, py::arg("seconds"), release())
      .def("stop", &StreamExecutor::stop)
      .def_property_readonly("position", [](const StreamExecutor& self) { return to_pair(self.position()); })
      .def_property_readonly("read_bytes", &StreamExecutor::read_bytes)
      .def_property_readonly("written_bytes", &StreamExecutor::written_bytes)
      .def_property_readonly("failure", &failure_of);
}

}  // namespace m2m
