// Two passes in one read: a pass that may write, and one that looks at the same chunks on the way.
#pragma once

#include <memory>

#include "stream/pass.h"

namespace m2m {

class RiderPass final : public StreamPass {
 public:
  RiderPass(const StreamPlan& plan, StreamPass& writer, StreamPass& rider) : plan_(plan), writer_(writer), rider_(rider) {}

  bool wants(std::int64_t tensor, int n) const override { return writer_.wants(tensor, n) || rider_.wants(tensor, n); }
  bool writes() const override { return writer_.writes(); }
  MergeDevice& device() const override { return writer_.device(); }
  std::int64_t span(std::int64_t tensor) const override;
  std::int64_t row(std::int64_t tensor) const override { return writer_.row(tensor); }
  void start(int workers) override {
    writer_.start(workers);
    rider_.start(workers);
  }
  void run(const ChunkView& chunk) override;

 private:
  static void run_wanted(StreamPass& pass, const ChunkView& chunk);

  const StreamPlan& plan_;
  StreamPass& writer_;
  StreamPass& rider_;
};

}  // namespace m2m
