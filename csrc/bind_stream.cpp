// Python's view of the streamed merge: a plan from flat arrays, an executor to wait for.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "stream_executor.h"
#include "stream_merge.h"

namespace py = pybind11;

namespace m2m {

namespace {

template <class T>
std::vector<T> to_vector(const py::buffer& buffer, std::size_t wanted, const char* name) {
  const py::buffer_info info = buffer.request();
  if (!info.item_type_is_equivalent_to<T>() || info.ndim != 1 || info.strides[0] != sizeof(T))
    throw std::invalid_argument(std::string(name) + " is not a plain array of the wanted type");
  if (static_cast<std::size_t>(info.size) != wanted)
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(info.size) + " numbers, wanted " +
                                std::to_string(wanted));
  const T* data = static_cast<const T*>(info.ptr);
  return std::vector<T>(data, data + info.size);
}

void check_range(std::int64_t value, std::int64_t end, const char* name) {
  if (value < 0 || value >= end) throw std::invalid_argument(std::string(name) + " is out of range");
}

Place to_place(const std::int64_t* numbers, std::size_t n_files) {
  check_range(numbers[0], static_cast<std::int64_t>(n_files), "file number");
  check_range(numbers[1], std::numeric_limits<std::int64_t>::max(), "offset");
  check_range(numbers[2], 4, "dtype");
  return {static_cast<int>(numbers[0]), numbers[1], static_cast<Dtype>(numbers[2])};
}

std::vector<Place> to_places(const py::buffer& buffer, std::size_t n_places, std::size_t n_files, const char* name) {
  const auto numbers = to_vector<std::int64_t>(buffer, n_places * 3, name);
  std::vector<Place> places;
  places.reserve(n_places);
  for (std::size_t i = 0; i < n_places; ++i) places.push_back(to_place(&numbers[i * 3], n_files));
  return places;
}

// Owns what the executor borrows, so that Python cannot free it too early.
class Stream {
 public:
  Stream(StreamPlan plan, bool allow_nonfinite, const StreamOptions& options)
      : plan_(std::move(plan)), pass_(plan_, allow_nonfinite), executor_(plan_, pass_, options) {}
  StreamExecutor& executor() { return executor_; }

 private:
  StreamPlan plan_;
  MergePass pass_;
  StreamExecutor executor_;
};

std::unique_ptr<Stream> make_stream(std::vector<std::string> input_files, std::vector<std::string> output_files,
                                    int n_inputs, int n_outputs, int n_blocks, const py::buffer& tensors,
                                    const py::buffer& inputs, const py::buffer& outputs, const py::buffer& weights,
                                    int threads, std::int64_t slot_bytes, std::pair<std::int64_t, std::int64_t> start,
                                    bool allow_nonfinite) {
  check_range(n_inputs - 1, 1 << 20, "n_inputs");
  check_range(n_outputs - 1, 1 << 20, "n_outputs");
  check_range(n_blocks, 1 << 30, "n_blocks");
  check_range(threads - 1, 4096, "threads");
  if (slot_bytes < 8 || slot_bytes % 8) throw std::invalid_argument("slot_bytes is not a multiple of 8");
  const std::size_t n_tensors = tensors.request().size / 3;
  check_range(start.first, n_tensors + 1, "start");
  const auto table = to_vector<std::int64_t>(tensors, n_tensors * 3, "tensors");
  StreamPlan plan{n_inputs, n_outputs, std::move(input_files), std::move(output_files), {}, {}, {}, {}};
  for (std::size_t t = 0; t < n_tensors; ++t) {
    check_range(table[t * 3], 2, "rule");
    const Rule rule = static_cast<Rule>(table[t * 3]);
    check_range(table[t * 3 + 1], std::numeric_limits<std::int64_t>::max(), "count");
    if (rule == Rule::merge) check_range(table[t * 3 + 2], n_blocks, "block");
    plan.tensors.push_back({rule, table[t * 3 + 1], static_cast<int>(table[t * 3 + 2])});
  }
  plan.inputs = to_places(inputs, n_tensors * n_inputs, plan.input_files.size(), "inputs");
  plan.outputs = to_places(outputs, n_tensors * n_outputs, plan.output_files.size(), "outputs");
  plan.weights = to_vector<double>(weights, static_cast<std::size_t>(n_blocks) * n_outputs * n_inputs, "weights");
  return std::make_unique<Stream>(std::move(plan), allow_nonfinite, StreamOptions{threads, slot_bytes, {start.first, start.second}});
}

std::pair<std::int64_t, std::int64_t> to_pair(const StreamPosition& position) { return {position.tensor, position.element}; }

using FailureTuple = std::tuple<std::string, std::int64_t, int, std::int64_t, int>;

std::optional<FailureTuple> failure_of(Stream& stream) {
  static const char* const names[] = {"read", "shrunk", "write", "nonfinite", "overflow", "unequal"};
  try {
    stream.executor().rethrow();
    return std::nullopt;
  } catch (const StreamFailure& failure) {
    return FailureTuple{names[static_cast<int>(failure.kind)], failure.tensor, failure.model, failure.element, failure.code};
  }
}

}  // namespace

void register_stream(py::module_& module) {
  using release = py::call_guard<py::gil_scoped_release>;
  py::class_<Stream>(module, "Stream", "A streamed merge; it starts when it is made and stops when it is dropped.")
      .def(py::init(&make_stream), py::kw_only(), py::arg("input_files"), py::arg("output_files"), py::arg("n_inputs"),
           py::arg("n_outputs"), py::arg("n_blocks"), py::arg("tensors"), py::arg("inputs"), py::arg("outputs"),
           py::arg("weights"), py::arg("threads"), py::arg("slot_bytes"), py::arg("start"), py::arg("allow_nonfinite"))
      .def("wait", [](Stream& self, double seconds) { return self.executor().wait(seconds); }, py::arg("seconds"), release())
      .def("stop", [](Stream& self) { self.executor().stop(); })
      .def_property_readonly("position", [](Stream& self) { return to_pair(self.executor().position()); })
      .def_property_readonly("read_bytes", [](Stream& self) { return self.executor().read_bytes(); })
      .def_property_readonly("written_bytes", [](Stream& self) { return self.executor().written_bytes(); })
      .def_property_readonly("failure", &failure_of);
}

}  // namespace m2m
