// The pass of the selecting methods (ties, dare, breadcrumbs, della, sce): it looks as often as a tensor needs, then writes.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "select/state.h"
#include "stream/pass.h"

namespace m2m {

struct SelectOptions {
  bool allow_nonfinite;
  int digit_bits;             // of the keys, that one look at a tensor counts by
  std::int64_t whole;         // tensors of at most so many elements come in one chunk: they are looked at when they are written
  std::int64_t guess_keys;    // that searches which begin with a sample hold together, an edge of an expert; 0: none does
  std::int64_t sampled_from;  // elements: smaller tensors have no sample taken of them
};

// Input 0 of a tensor is the base model, input n + 1 is expert n.
class SelectPass final : public StreamPass {
 public:
  SelectPass(const StreamPlan& plan, const SelectOptions& options);

  void add(std::int64_t tensor, SelectSpec spec);

  // Makes ready for the next run over all tensors: true if it is a look, false if it writes.
  bool look();

  bool wants(std::int64_t tensor, int n) const override;
  bool writes() const override { return writes_; }
  std::int64_t span(std::int64_t tensor) const override;
  std::int64_t head(std::int64_t tensor) const override;
  std::int64_t row(std::int64_t tensor) const override;
  void start(int workers) override;
  void run(const ChunkView& view) override;

 private:
  struct Tensor {
    SelectSpec spec;
    std::int64_t total;
    Dtype dtype;
    std::unique_ptr<SelectState> state;  // none for a tensor that comes whole
  };
  struct Scratch {
    SelectScratch<float> narrow;
    SelectScratch<double> wide;
  };

  void begin();
  SelectInputs inputs_of(const ChunkView& view, const SelectSpec& spec) const;
  template <class Real>
  void run_with(const ChunkView& view, Tensor& tensor, SelectScratch<Real>& scratch);
  void check_finite(const ChunkView& view) const;

  const StreamPlan& plan_;
  const SelectOptions options_;
  std::map<std::int64_t, Tensor> tensors_;
  std::vector<Scratch> scratch_;  // [workers]
  std::int64_t elements_ = 0;     // of all tensors
  bool begun_ = false;
  bool writes_ = false;
};

}  // namespace m2m
