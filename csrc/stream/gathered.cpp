// Inputs whose rows lie in several places: read run by run, into the same slots as any other input.
#include <algorithm>
#include <cstring>

#include "core/merge.h"
#include "core/widen.h"
#include "stream/executor.h"

namespace m2m {

namespace {

constexpr std::int64_t kPiece = 512;  // elements of a mean under way

// The run that a row lies in: the last one that does not begin after it.
const RowRun& run_of(const StreamPlan& plan, const GatheredInput& gathered, std::int64_t row) {
  const RowRun* runs = plan.row_runs.data() + gathered.first_run;
  const auto begins_after = [](std::int64_t wanted, const RowRun& run) { return wanted < run.first; };
  return *(std::upper_bound(runs, runs + gathered.n_runs, row, begins_after) - 1);
}

std::int64_t end_of(const RowRun& run, const StreamPlan& plan, const GatheredInput& gathered, std::int64_t count) {
  const RowRun* end = plan.row_runs.data() + gathered.first_run + gathered.n_runs;
  return &run + 1 == end ? count : std::int64_t{(&run + 1)->first} * gathered.width;
}

}  // namespace

void StreamExecutor::read_gathered(std::int64_t tensor, int n, std::int64_t first, std::int64_t count, Dtype wanted, void* into,
                                   void* narrow) {
  const GatheredInput& gathered = *plan_.gathered_at(tensor, n);
  auto* place_in = static_cast<char*>(into);
  const std::int64_t end = first + count;
  for (std::int64_t taken; first < end; first += taken, place_in += taken * size_of(wanted)) {
    const std::int64_t row = first / gathered.width, column = first % gathered.width;
    const RowRun& run = run_of(plan_, gathered, row);
    const std::int64_t in_row = std::min(end - first, gathered.width - column);
    if (run.source < 0) {
      taken = std::min(in_row, kPiece);
      read_mean(tensor, n, run, column, taken, wanted, place_in, narrow);
      continue;
    }
    const Place& source = plan_.row_sources[gathered.first_source + run.source];
    if (source.file == constant_rows) {
      taken = in_row;
      const std::int64_t size = size_of(source.dtype);
      const bool widens = source.dtype != wanted;
      std::memcpy(widens ? narrow : place_in, plan_.constants.data() + source.offset + column * size, taken * size);
      if (widens) widen(narrow, source.dtype, place_in, wanted, taken);
    } else {
      taken = std::min(end, end_of(run, plan_, gathered, plan_.tensors[tensor].count)) - first;
      read_wide(tensor, n, source, (run.row + row - run.first) * gathered.width + column, taken, wanted, place_in, narrow);
    }
  }
}

// The terms are added in float64, in their order; their sum is divided by their number, and rounded once.
void StreamExecutor::read_mean(std::int64_t tensor, int n, const RowRun& run, std::int64_t column, std::int64_t count,
                               Dtype wanted, void* into, void* narrow) {
  const GatheredInput& gathered = *plan_.gathered_at(tensor, n);
  const Dtype dtype = plan_.input(tensor, n).dtype;
  double sum[kPiece], term[kPiece];
  for (std::int32_t k = 0; k < -run.source; ++k) {
    const RowTerm& one = plan_.row_terms[run.row + k];
    const Place& source = plan_.row_sources[gathered.first_source + one.source];
    read_wide(tensor, n, source, one.row * gathered.width + column, count, Dtype::f64, k == 0 ? sum : term, narrow);
    if (k == 0) continue;
    for (std::int64_t i = 0; i < count; ++i) sum[i] += term[i];
  }
  for (std::int64_t i = 0; i < count; ++i) sum[i] /= -run.source;
  const bool widens = dtype != wanted;
  widen(sum, Dtype::f64, widens ? narrow : into, dtype, count);  // of one term: rounds once
  if (widens) widen(narrow, dtype, into, wanted, count);
}

}  // namespace m2m
