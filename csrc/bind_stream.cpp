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

// An input's file may be -1: then its number is that of a product.
std::vector<Place> to_inputs(const py::buffer& buffer, const StreamPlan& plan, std::size_t n_places) {
  const auto numbers = to_vector<std::int64_t>(buffer, n_places * 3, "inputs");
  std::vector<Place> places;
  places.reserve(n_places);
  for (const std::int64_t* place = numbers.data(); place != numbers.data() + numbers.size(); place += 3) {
    if (place[0] >= 0) {
      places.push_back(to_place(place, plan.input_files.size()));
    } else {
      check_range(place[1], plan.products.size(), "product");
      places.push_back({-1, place[1], Dtype::f64});
    }
  }
  return places;
}

// rows, columns and rank; then file, offset, dtype and whether it is transposed, of the left and of the right factor.
std::vector<LoraProduct> to_products(const py::buffer& buffer, std::size_t n_files) {
  constexpr std::int64_t most = std::int64_t{1} << 31;  // so that no count of elements overflows
  std::vector<LoraProduct> products;
  const std::int64_t n_products = buffer.request().size / 11;
  const auto numbers = to_vector<std::int64_t>(buffer, n_products * 11, "products");
  for (const std::int64_t* row = numbers.data(); row != numbers.data() + numbers.size(); row += 11) {
    for (int i = 0; i < 3; ++i) check_range(row[i] - 1, most, "shape of a product");
    products.push_back({row[0], row[1], row[2],
                        {to_place(row + 3, n_files), row[6] != 0}, {to_place(row + 7, n_files), row[10] != 0}});
  }
  return products;
}

void check_products(const StreamPlan& plan) {
  for (std::size_t t = 0; t < plan.tensors.size(); ++t)
    for (int n = 0; n < plan.tensors[t].n_inputs; ++n) {
      const LoraProduct* product = plan.product(t, n);
      if (product != nullptr && (plan.tensors[t].rule != Rule::merge || product->rows * product->columns != plan.tensors[t].count))
        throw std::invalid_argument("a product does not fit its tensor");
    }
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

// tensors: [T, 4] rule, count, block, n_inputs; inputs and outputs: file, offset, dtype; blocks: n_inputs of each.
StreamPlan make_plan(std::vector<std::string> input_files, std::vector<std::string> output_files, int n_outputs,
                     const py::buffer& tensors, const py::buffer& inputs, const py::buffer& products,
                     const py::buffer& outputs, const py::buffer& blocks, const py::buffer& weights) {
  check_range(n_outputs - 1, 1 << 20, "n_outputs");
  StreamPlan plan{n_outputs, std::move(input_files), std::move(output_files), {}, {}, {}, {}, {}, {}};
  std::int64_t n_weights = 0;
  for (const std::int64_t n : to_vector<std::int64_t>(blocks, blocks.request().size, "blocks")) {
    check_range(n - 1, 1 << 20, "block");
    plan.blocks.push_back({static_cast<int>(n), n_weights});
    n_weights += n * n_outputs;
  }
  plan.weights = to_vector<double>(weights, n_weights, "weights");
  const std::int64_t n_tensors = tensors.request().size / 4;
  const auto table = to_vector<std::int64_t>(tensors, n_tensors * 4, "tensors");
  std::int64_t n_places = 0;
  for (const std::int64_t* row = table.data(); row != table.data() + table.size(); row += 4) {
    check_range(row[0], 2, "rule");
    check_range(row[1], std::numeric_limits<std::int64_t>::max(), "count");
    check_range(row[3] - 1, 1 << 20, "n_inputs");
    const Rule rule = static_cast<Rule>(row[0]);
    if (rule == Rule::merge) {
      check_range(row[2], plan.blocks.size(), "block");
      if (plan.blocks[row[2]].n_inputs != row[3]) throw std::invalid_argument("weights do not fit a tensor's inputs");
    }
    plan.tensors.push_back({rule, row[1], static_cast<int>(row[2]), static_cast<int>(row[3]), n_places});
    n_places += row[3];
  }
  plan.products = to_products(products, plan.input_files.size());
  plan.inputs = to_inputs(inputs, plan, n_places);
  check_products(plan);
  plan.outputs = to_places(outputs, n_tensors * n_outputs, plan.output_files.size(), "outputs");
  return plan;
}

std::unique_ptr<Stream> make_stream(std::vector<std::string> input_files, std::vector<std::string> output_files,
                                    int n_outputs, const py::buffer& tensors, const py::buffer& inputs,
                                    const py::buffer& products, const py::buffer& outputs, const py::buffer& blocks, const py::buffer& weights,
                                    int threads, std::int64_t slot_bytes, std::pair<std::int64_t, std::int64_t> start,
                                    bool allow_nonfinite) {
  check_range(threads - 1, 4096, "threads");
  if (slot_bytes < 8 || slot_bytes % 8) throw std::invalid_argument("slot_bytes is not a multiple of 8");
  StreamPlan plan = make_plan(std::move(input_files), std::move(output_files), n_outputs, tensors, inputs, products, outputs,
                              blocks, weights);
  check_range(start.first, plan.tensors.size() + 1, "start");
  check_range(start.second, std::numeric_limits<std::int64_t>::max(), "start");
  return std::make_unique<Stream>(std::move(plan), allow_nonfinite,
                                  StreamOptions{threads, slot_bytes, {start.first, start.second}});
}

std::pair<std::int64_t, std::int64_t> to_pair(const StreamPosition& position) { return {position.tensor, position.element}; }

using FailureTuple = std::tuple<std::string, std::int64_t, int, std::int64_t, int>;

std::optional<FailureTuple> failure_of(Stream& stream) {
  static const char* const names[] = {"read", "shrunk", "write", "nonfinite", "overflow", "unequal", "factor"};
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
      .def(py::init(&make_stream), py::kw_only(), py::arg("input_files"), py::arg("output_files"),
           py::arg("n_outputs"), py::arg("tensors"), py::arg("inputs"), py::arg("products"), py::arg("outputs"), py::arg("blocks"),
           py::arg("weights"), py::arg("threads"), py::arg("slot_bytes"), py::arg("start"), py::arg("allow_nonfinite"))
      .def("wait", [](Stream& self, double seconds) { return self.executor().wait(seconds); }, py::arg("seconds"), release())
      .def("stop", [](Stream& self) { self.executor().stop(); })
      .def_property_readonly("position", [](Stream& self) { return to_pair(self.executor().position()); })
      .def_property_readonly("read_bytes", [](Stream& self) { return self.executor().read_bytes(); })
      .def_property_readonly("written_bytes", [](Stream& self) { return self.executor().written_bytes(); })
      .def_property_readonly("failure", &failure_of);
}

}  // namespace m2m
