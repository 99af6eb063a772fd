// Where a target's choices come from: a seed, or the bytes that a fuzzer makes up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>

namespace m2m {

class Draws {
 public:
  Draws(std::uint64_t seed) : random_(seed) {}

  // Two bytes a draw, so that a change of a byte is a change of one choice; after the last one, a fixed sequence.
  Draws(const std::uint8_t* bytes, std::size_t count) : bytes_(bytes), count_(count) {}

  std::uint64_t operator()() {
    if (at_ + 2 > count_) return random_();
    at_ += 2;
    return static_cast<std::uint64_t>(bytes_[at_ - 2]) | static_cast<std::uint64_t>(bytes_[at_ - 1]) << 8;
  }

  int pick(std::size_t n) { return static_cast<int>((*this)() % n); }

 private:
  std::mt19937_64 random_{0};
  const std::uint8_t* bytes_ = nullptr;
  std::size_t count_ = 0, at_ = 0;
};

}  // namespace m2m
