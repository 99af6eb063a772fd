// One worker's staging memory: allocated once, touched once, reused for every chunk.
#pragma once

#include <cstdint>
#include <memory>

#include "core/merge_device.h"

namespace m2m {

class StreamBuffers {
 public:
  // N + M slots of at least `slot_bytes`.
  StreamBuffers(int n_inputs, int n_outputs, std::int64_t slot_bytes, MergeDevice& device)
      : n_inputs_(n_inputs),
        slot_bytes_(round_up(slot_bytes)),
        memory_(static_cast<char*>(device.allocate(bytes_for(n_inputs, n_outputs, slot_bytes))), Release{&device}) {}

  static std::int64_t bytes_for(int n_inputs, int n_outputs, std::int64_t slot_bytes) {
    return round_up(slot_bytes) * (n_inputs + n_outputs);
  }

  void* input(int n) { return memory_.get() + n * slot_bytes_; }
  void* output(int m) { return memory_.get() + (n_inputs_ + m) * slot_bytes_; }
  void* narrow() { return output(0); }  // outputs are filled only after the inputs have been widened

 private:
  static constexpr std::int64_t alignment = 4096;
  static std::int64_t round_up(std::int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }
  struct Release {
    MergeDevice* device;
    void operator()(char* memory) const { device->release(memory); }
  };

  int n_inputs_;
  std::int64_t slot_bytes_;
  std::unique_ptr<char, Release> memory_;
};

}  // namespace m2m
