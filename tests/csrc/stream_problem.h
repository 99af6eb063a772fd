// A small merge on disk, made from a seed: input files, plan, weights, and the bytes that must come out, computed as the
// contract reads.
#pragma once

#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "core/arithmetic.h"
#include "fuzz/draws.h"
#include "stream/merge_pass.h"
#include "stream/plan.h"

namespace m2m {

using Bytes = std::vector<char>;

inline Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

inline void write_file(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// A folder that goes when the object goes.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "m2m-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class StreamProblem {
 public:
  StreamPlan plan{};
  MergeWeights weights;
  std::vector<Bytes> wanted;  // of each output file
  Draws draws;

  // A seed will do for draws. They say what the problem looks like; the numbers in it only begin there.
  StreamProblem(const TemporaryFolder& folder, Draws from) : draws(from), random_(draws()) {
    plan.n_outputs = 1 + pick(3);
    most_inputs_ = 1 + pick(4);
    for (int i = 0; i < most_inputs_; ++i) plan.input_files.push_back(folder.file("in" + std::to_string(i)));
    for (int i = 0; i < plan.n_outputs; ++i) plan.output_files.push_back(folder.file("out" + std::to_string(i)));
    contents_.resize(most_inputs_);
    wanted.resize(plan.n_outputs);
    // Data need not be aligned to anything.
    for (Bytes& content : contents_) content.assign(pick(9), 'h');
    for (Bytes& content : wanted) content.assign(pick(9), '\0');
    for (int t = 1 + pick(4); t > 0; --t) pick(4) == 0 ? add_copied() : add_merged();
    lay_out();
  }

  // Puts the files where they were before a run.
  void lay_out() const {
    for (int i = 0; i < most_inputs_; ++i) write_file(plan.input_files[i], contents_[i]);
    for (int m = 0; m < plan.n_outputs; ++m) write_file(plan.output_files[m], Bytes(wanted[m].size()));
  }

  std::int64_t end() const { return static_cast<std::int64_t>(plan.tensors.size()); }

  bool is_merged() const {
    for (int m = 0; m < plan.n_outputs; ++m)
      if (read_file(plan.output_files[m]) != wanted[m]) return false;
    return true;
  }

 private:
  int pick(int n) { return draws.pick(n); }
  Dtype pick_dtype() { return static_cast<Dtype>(pick(4)); }
  double number() { return static_cast<double>(random_() % 4001) / 1024 - 2; }

  template <class T>
  static void append(Bytes& to, const T& value) {
    const char* bytes = reinterpret_cast<const char*>(&value);
    to.insert(to.end(), bytes, bytes + sizeof(T));
  }

  // Appends one number and returns what was stored of it.
  static double append(Bytes& to, Dtype dtype, double value) {
    double kept = 0;
    dispatch(dtype, [&](auto tag) {
      typename decltype(tag)::type stored;
      store(value, &stored);
      append(to, stored);
      kept = static_cast<double>(load(stored));
    });
    return kept;
  }

  std::vector<double> append_numbers(int file, Dtype dtype, std::int64_t count) {
    std::vector<double> kept(count);
    for (double& value : kept) value = append(contents_[file], dtype, number());
    return kept;
  }

  Place end_of(int file, Dtype dtype) const { return {file, static_cast<std::int64_t>(contents_[file].size()), dtype}; }

  void add_copied() {
    const std::int64_t count = pick(3000);
    Bytes bytes(count);
    for (char& byte : bytes) byte = static_cast<char>(random_());
    const int n_inputs = 1 + pick(most_inputs_);
    weights.block_of.push_back(-1);
    plan.tensors.push_back({Rule::copy, count, n_inputs, static_cast<std::int64_t>(plan.inputs.size())});
    for (int n = 0; n < n_inputs; ++n) {
      plan.inputs.push_back(end_of(n, Dtype::f64));
      contents_[n].insert(contents_[n].end(), bytes.begin(), bytes.end());
    }
    for (int m = 0; m < plan.n_outputs; ++m) {
      plan.outputs.push_back({m, static_cast<std::int64_t>(wanted[m].size()), Dtype::f64});
      wanted[m].insert(wanted[m].end(), bytes.begin(), bytes.end());
    }
  }

  void add_merged() {
    const std::int64_t rows = 1 + pick(40), columns = pick(60), count = rows * columns;
    const bool mixed = pick(3) == 0;
    const Dtype dtype = pick_dtype();
    const int n_inputs = 1 + pick(most_inputs_);
    weights.block_of.push_back(static_cast<std::int64_t>(weights.blocks.size()));
    plan.tensors.push_back({Rule::merge, count, n_inputs, static_cast<std::int64_t>(plan.inputs.size())});
    std::vector<std::vector<double>> values(n_inputs);
    std::vector<int> adapted;
    bool in_double = false;
    for (int n = 0; n < n_inputs; ++n) {
      const bool formed = mixed && columns > 0 && pick(3) == 0;
      if (columns > 0 && !formed && pick(4) == 0) {
        plan.inputs.push_back(add_gathered(n, mixed ? pick_dtype() : dtype, rows, columns, values[n]));
        in_double = in_double || plan.inputs.back().dtype == Dtype::f64;
      } else if (formed && pick(2)) {
        adapted.push_back(n);
        plan.inputs.push_back(add_adapted(n, rows, columns, values[n]));
      } else {
        plan.inputs.push_back(formed ? add_product(n, rows, columns, values[n])
                                     : add_read(n, mixed ? pick_dtype() : dtype, count, values[n]));
        in_double = in_double || plan.inputs.back().dtype == Dtype::f64;
      }
    }
    for (int n : adapted) round_adapted(plan.inputs[plan.tensors.back().first_input + n], in_double, values[n]);
    add_sums(values, count, in_double);
  }

  Place add_read(int file, Dtype dtype, std::int64_t count, std::vector<double>& values) {
    const Place place = end_of(file, dtype);
    values = append_numbers(file, dtype, count);
    return place;
  }

  // Rows of two tables, of one that stands for itself, and means, in any order.
  Place add_gathered(int file, Dtype dtype, std::int64_t rows, std::int64_t width, std::vector<double>& values) {
    const std::int64_t known = 1 + pick(6), first_run = plan.row_runs.size(), first_source = plan.row_sources.size();
    std::vector<std::vector<double>> tables(2);
    for (std::vector<double>& table : tables) {
      plan.row_sources.push_back(end_of(file, dtype));
      table = append_numbers(file, dtype, known * width);
    }
    Bytes constant;
    plan.row_sources.push_back({constant_rows, static_cast<std::int64_t>(plan.constants.size()), dtype});
    tables.push_back({});
    for (std::int64_t c = 0; c < width; ++c) tables[2].push_back(append(constant, dtype, number()));
    plan.constants.insert(plan.constants.end(), constant.begin(), constant.end());
    const auto add_row = [&](int source, std::int64_t row) {
      values.insert(values.end(), tables[source].begin() + row * width, tables[source].begin() + (row + 1) * width);
    };
    for (std::int64_t row = 0; row < rows;) {
      const int source = pick(4);
      const auto first = static_cast<std::int32_t>(row);
      if (source == 3) {
        plan.row_runs.push_back({first, -2, static_cast<std::int32_t>(plan.row_terms.size())});
        const RowTerm terms[] = {{0, pick(known)}, {1, pick(known)}};
        plan.row_terms.insert(plan.row_terms.end(), terms, terms + 2);
        for (std::int64_t c = 0; c < width; ++c) {
          Bytes unused;
          const double sum = tables[0][terms[0].row * width + c] + tables[1][terms[1].row * width + c];
          values.push_back(append(unused, dtype, sum / 2));
        }
        ++row;
        continue;
      }
      const std::int64_t from = source == 2 ? 0 : pick(known);
      plan.row_runs.push_back({first, source, static_cast<std::int32_t>(from)});
      const std::int64_t span = std::min<std::int64_t>(rows - row, 1 + pick(source == 2 ? 3 : known - from));
      for (std::int64_t i = 0; i < span; ++i) add_row(source, source == 2 ? 0 : from + i);
      row += span;
    }
    plan.gathered.push_back({width, first_run, static_cast<std::int64_t>(plan.row_runs.size()) - first_run, first_source, 3});
    return {gathered_input, static_cast<std::int64_t>(plan.gathered.size()) - 1, dtype};
  }

  Place add_adapted(int file, std::int64_t rows, std::int64_t columns, std::vector<double>& values) {
    std::vector<double> added;
    AdaptedInput adapted{};
    adapted.base = add_read(file, pick_dtype(), rows * columns, values);
    adapted.added = pick(2) ? add_product(file, rows, columns, added) : add_read(file, pick_dtype(), rows * columns, added);
    adapted.scale = 0.3 + pick(4);
    for (std::size_t e = 0; e < values.size(); ++e) values[e] = std::fma(adapted.scale, added[e], values[e]);
    plan.adapted.push_back(adapted);
    return {adapted_input, static_cast<std::int64_t>(plan.adapted.size()) - 1, Dtype::f64};
  }

  // To the widest type among the tensor's other inputs, float32 at least.
  static void round_adapted(Place& place, bool in_double, std::vector<double>& values) {
    place.dtype = in_double ? Dtype::f64 : Dtype::f32;
    if (in_double) return;
    for (double& value : values) value = static_cast<float>(value);
  }

  Place add_product(int file, std::int64_t rows, std::int64_t columns, std::vector<double>& values) {
    const std::int64_t rank = 1 + pick(3);
    LoraProduct product{rows, columns, rank, {end_of(file, pick_dtype()), rank, 1}, {}};
    const std::vector<double> left = append_numbers(file, product.left.place.dtype, rows * rank);
    product.right = {end_of(file, pick_dtype()), columns, 1};
    const std::vector<double> right = append_numbers(file, product.right.place.dtype, rank * columns);
    plan.products.push_back(product);
    values.assign(rows * columns, -0.0);
    for (std::int64_t e = 0; e < rows * columns; ++e)
      for (std::int64_t k = 0; k < rank; ++k) values[e] += left[e / columns * rank + k] * right[k * columns + e % columns];
    return {product_input, static_cast<std::int64_t>(plan.products.size()) - 1, Dtype::f64};
  }

  void add_sums(const std::vector<std::vector<double>>& values, std::int64_t count, bool in_double) {
    const int n_inputs = static_cast<int>(values.size());
    const Dtype dtype = pick_dtype();
    weights.blocks.push_back({n_inputs, {}});
    std::vector<double>& block = weights.blocks.back().weights;
    for (int m = 0; m < plan.n_outputs; ++m) {
      std::vector<double> row(n_inputs);
      for (double& weight : row) weight = pick(4) == 0 ? 0 : number() / 3;
      block.insert(block.end(), row.begin(), row.end());
      plan.outputs.push_back({m, static_cast<std::int64_t>(wanted[m].size()), dtype});
      for (std::int64_t e = 0; e < count; ++e)
        append(wanted[m], dtype, in_double ? sum<double>(values, row, e) : sum<float>(values, row, e));
    }
  }

  template <class Acc>
  static double sum(const std::vector<std::vector<double>>& values, const std::vector<double>& weights, std::int64_t e) {
    Acc total = Acc(-0.0);
    for (std::size_t n = 0; n < values.size(); ++n) {
      const Acc weight = static_cast<Acc>(weights[n]);
      if (weight != 0) total = std::fma(weight, static_cast<Acc>(values[n][e]), total);
    }
    return total;
  }

  std::mt19937_64 random_;
  int most_inputs_ = 0;
  std::vector<Bytes> contents_;
};

}  // namespace m2m
