#include "core/merge_device.h"

#include <cstdlib>
#include <new>

namespace m2m {

namespace {

class CpuDevice final : public MergeDevice {
 public:
  void* allocate(std::int64_t bytes) override {
    constexpr std::int64_t page = 4096;
    void* memory = std::aligned_alloc(page, (bytes + page - 1) / page * page);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  void release(void* memory) noexcept override { std::free(memory); }
  void merge(const MergeArgs& args, int) override { merge_cpu(args, 1); }
};

}  // namespace

MergeDevice& cpu_device() {
  static CpuDevice device;
  return device;
}

}  // namespace m2m
