// A plan of the stream from Python's flat arrays.
#include "bind/open_plan.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "stream/plan_check.h"

namespace py = pybind11;

namespace m2m {

namespace {

constexpr std::size_t kTensorNumbers = 3, kPlaceNumbers = 3, kProductNumbers = 13, kAdaptedNumbers = 11, kGatheredNumbers = 5,
                      kRunNumbers = 3, kTermNumbers = 2;

template <class T = std::int64_t>
std::vector<T> to_rows(const py::buffer& buffer, std::size_t width, const char* name) {
  auto numbers = to_vector<T>(buffer, name);
  if (numbers.size() % width)
    throw std::invalid_argument(std::string(name) + " do not come in rows of " + std::to_string(width));
  return numbers;
}

// What does not fit the narrower type becomes a number that no plan may have.
int to_int(std::int64_t number) { return number == static_cast<int>(number) ? static_cast<int>(number) : -3; }

Place to_place(const std::int64_t* row) { return {to_int(row[0]), row[1], static_cast<Dtype>(to_int(row[2]))}; }

std::vector<Place> to_places(const py::buffer& buffer, const char* name) {
  std::vector<Place> places;
  const auto numbers = to_rows(buffer, kPlaceNumbers, name);
  for (std::size_t i = 0; i < numbers.size(); i += kPlaceNumbers) places.push_back(to_place(&numbers[i]));
  return places;
}

std::vector<LoraProduct> to_products(const py::buffer& buffer) {
  std::vector<LoraProduct> products;
  const auto numbers = to_rows(buffer, kProductNumbers, "products");
  for (std::size_t i = 0; i < numbers.size(); i += kProductNumbers) {
    const std::int64_t* row = &numbers[i];
    products.push_back({row[0], row[1], row[2], {to_place(row + 3), row[6], row[7]}, {to_place(row + 8), row[11], row[12]}});
  }
  return products;
}

std::vector<AdaptedInput> to_adapted(const py::buffer& buffer, const py::buffer& scales) {
  std::vector<AdaptedInput> adapted;
  const auto numbers = to_rows(buffer, kAdaptedNumbers, "adapted");
  const auto factors = to_vector<double>(scales, "scales");
  if (factors.size() * kAdaptedNumbers != numbers.size()) throw std::invalid_argument("wanted a scale for every adapted input");
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const std::int64_t* row = &numbers[i * kAdaptedNumbers];
    const std::int64_t* lengths = row + 2 * kPlaceNumbers;
    const Magnitudes magnitudes{lengths[kPlaceNumbers] != 0, lengths[kPlaceNumbers + 1] != 0, to_place(lengths)};
    adapted.push_back({to_place(row), to_place(row + kPlaceNumbers), factors[i], magnitudes});
  }
  return adapted;
}

std::vector<GatheredInput> to_gathered(const py::buffer& buffer) {
  std::vector<GatheredInput> gathered;
  const auto numbers = to_rows(buffer, kGatheredNumbers, "gathered");
  for (std::size_t i = 0; i < numbers.size(); i += kGatheredNumbers) {
    const std::int64_t* row = &numbers[i];
    gathered.push_back({row[0], row[1], row[2], row[3], row[4]});
  }
  return gathered;
}

std::vector<RowRun> to_runs(const py::buffer& buffer) {
  std::vector<RowRun> runs;
  const auto numbers = to_rows<std::int32_t>(buffer, kRunNumbers, "row_runs");
  runs.reserve(numbers.size() / kRunNumbers);
  for (std::size_t i = 0; i < numbers.size(); i += kRunNumbers) runs.push_back({numbers[i], numbers[i + 1], numbers[i + 2]});
  return runs;
}

std::vector<RowTerm> to_terms(const py::buffer& buffer) {
  std::vector<RowTerm> terms;
  const auto numbers = to_rows<std::int32_t>(buffer, kTermNumbers, "row_terms");
  for (std::size_t i = 0; i < numbers.size(); i += kTermNumbers) terms.push_back({numbers[i], numbers[i + 1]});
  return terms;
}

// tensors: rule, count, n_inputs; inputs and outputs: file (-1 for a product, -2 for an adapted input, -3 for a gathered one),
// offset (or the number of what is formed), dtype; products: rows, columns and rank, then file, offset, dtype, row step and
// column step of the left and the right factor; adapted: file, offset and dtype of the base, of what is added, whose factors
// are `scales`, and of magnitudes, then whether these are given and whether they are those of columns; gathered: width, then
// first and number of its row_runs (first, source, row) and of its row_sources (-4 for a row in `constants`); row_terms:
// source, row.
std::unique_ptr<OpenPlan> make_plan(std::vector<std::string> input_files, std::vector<std::string> output_files, int n_outputs,
                                    const py::buffer& tensors, const py::buffer& inputs, const py::buffer& products,
                                    const py::buffer& adapted, const py::buffer& scales, const py::buffer& gathered,
                                    const py::buffer& row_sources, const py::buffer& row_runs, const py::buffer& row_terms,
                                    const py::buffer& constants, const py::buffer& outputs, int most_open) {
  if (most_open < 1) throw std::invalid_argument("most_open is out of range");
  StreamPlan plan{};
  plan.n_outputs = n_outputs;
  plan.input_files = std::move(input_files);
  plan.output_files = std::move(output_files);
  const auto table = to_rows(tensors, kTensorNumbers, "tensors");
  std::int64_t n_places = 0;
  for (std::size_t i = 0; i < table.size(); i += kTensorNumbers) {
    plan.tensors.push_back({static_cast<Rule>(to_int(table[i])), table[i + 1], to_int(table[i + 2]), n_places});
    n_places += std::max<std::int64_t>(plan.tensors.back().n_inputs, 0);
  }
  plan.inputs = to_places(inputs, "inputs");
  plan.products = to_products(products);
  plan.adapted = to_adapted(adapted, scales);
  plan.gathered = to_gathered(gathered);
  plan.row_sources = to_places(row_sources, "row_sources");
  plan.row_runs = to_runs(row_runs);
  plan.row_terms = to_terms(row_terms);
  plan.constants = to_vector<std::uint8_t>(constants, "constants");
  plan.outputs = to_places(outputs, "outputs");
  check_plan(plan);
  return std::make_unique<OpenPlan>(std::move(plan), most_open);
}

// While no stream runs. Returns the number of an output file and errno, of the first whose writing failed in the end.
std::optional<std::pair<std::size_t, int>> close_outputs(const OpenPlan& plan) {
  std::optional<std::pair<std::size_t, int>> failed;
  for (std::size_t i = 0; i < plan.files.outputs.size(); ++i)
    if (const int code = plan.files.outputs[i].close(); code != 0 && !failed) failed = {i, code};
  return failed;
}

}  // namespace

void register_plan(py::module_& module) {
  py::class_<StreamPlan>(module, "PlanNumbers", "A plan as pure data.");
  py::class_<OpenPlan, StreamPlan>(module, "StreamPlan", "Which bytes of which files become which others.")
      .def(py::init(&make_plan), py::kw_only(), py::arg("input_files"), py::arg("output_files"), py::arg("n_outputs"),
           py::arg("tensors"), py::arg("inputs"), py::arg("products"), py::arg("adapted"), py::arg("scales"),
           py::arg("gathered"), py::arg("row_sources"), py::arg("row_runs"), py::arg("row_terms"), py::arg("constants"),
           py::arg("outputs"), py::arg("most_open"))
      .def("close_outputs", &close_outputs, py::call_guard<py::gil_scoped_release>());
}

}  // namespace m2m
