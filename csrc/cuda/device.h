// Merges on a CUDA device: chunks go through it in pieces, copies in, kernel and copies out overlapping.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/merge_device.h"

namespace m2m {

// Device memory: workers * 2 * (N + M) * piece_bytes. While one worker waits for the device, others read and write files.
class CudaDevice final : public MergeDevice {
 public:
  static constexpr std::int64_t usual_piece_bytes = std::int64_t{1} << 20;

  // Throws std::runtime_error, with CUDA's own words, if there is no such device or no driver.
  CudaDevice(int device, int workers, std::int64_t piece_bytes = usual_piece_bytes);
  ~CudaDevice() override;

  void* allocate(std::int64_t bytes) override;
  void release(void* memory) noexcept override;
  void merge(const MergeArgs& args, int worker) override;

 private:
  class Lane;
  struct Worker;
  const int device_;
  const std::int64_t piece_bytes_;  // of one input or output
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace m2m
