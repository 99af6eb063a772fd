// Sums whose bits do not depend on how a tensor is cut into chunks: segments of 65 536 elements from the tensor's first; in a
// segment lane j of 16 adds the terms with index = j mod 16, ascending, from +0; lanes fold in halves; segments ascend.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <stdexcept>

namespace m2m {

constexpr std::int64_t kSegment = 65536;
constexpr int kLanes = 16;

struct Lanes {
  double sums[kLanes] = {};

  double folded() const;
};

// Adds the terms of elements [first, first + count) of one segment.
void add_to_lanes(Lanes& lanes, const double* terms, std::int64_t first, int count);

// One sum over one tensor. Chunks that share a segment must come in ascending order; otherwise any order, any thread.
class OrderedSum {
 public:
  explicit OrderedSum(std::int64_t total) : total_(total) {}

  // Adds one chunk's terms.
  class Cursor {
   public:
    Cursor(OrderedSum& sum, std::int64_t first) : sum_(sum), next_(first), lanes_(sum.resume(first)) {}

    void add(const double* terms, int count) {
      while (count > 0) {
        const int part = static_cast<int>(std::min<std::int64_t>(count, kSegment - next_ % kSegment));
        add_to_lanes(lanes_, terms, next_, part);
        next_ += part;
        terms += part;
        count -= part;
        if (next_ % kSegment == 0 || next_ == sum_.total_) close();
      }
    }

    // After the chunk's last term.
    void finish() {
      if (next_ % kSegment != 0 && next_ != sum_.total_) sum_.suspend(next_, lanes_);
    }

   private:
    void close() {
      sum_.close((next_ - 1) / kSegment, lanes_.folded());
      lanes_ = Lanes{};
    }

    OrderedSum& sum_;
    std::int64_t next_;
    Lanes lanes_;
  };

  double value() const {
    double total = 0;
    for (const auto& segment : segments_) total += segment.second;
    return total;
  }

 private:
  Lanes resume(std::int64_t first) {
    if (first % kSegment == 0) return Lanes{};
    std::lock_guard lock(mutex_);
    const auto open = open_.extract(first);
    if (!open) throw std::logic_error("chunks of a segment came out of order");
    return open.mapped();
  }

  void suspend(std::int64_t next, const Lanes& lanes) {
    std::lock_guard lock(mutex_);
    open_.emplace(next, lanes);
  }

  void close(std::int64_t number, double folded) {
    std::lock_guard lock(mutex_);
    segments_.emplace(number, folded);
  }

  const std::int64_t total_;
  std::mutex mutex_;
  std::map<std::int64_t, Lanes> open_;       // segments that a chunk's end has cut, by the element that comes next
  std::map<std::int64_t, double> segments_;  // by number
};

}  // namespace m2m
