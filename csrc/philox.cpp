#include "philox.h"

#include "isa_clones.h"

namespace m2m {
namespace {

// Words of blocks [first, first + kPhiloxLanes): words[4 * j + w] is word w of block first + j.
inline __attribute__((always_inline)) void philox_blocks(PhiloxKey key, std::uint64_t first, std::uint32_t* words) {
  std::uint32_t a[kPhiloxLanes], b[kPhiloxLanes], c[kPhiloxLanes] = {}, d[kPhiloxLanes] = {};
  for (int j = 0; j < kPhiloxLanes; ++j) {
    a[j] = static_cast<std::uint32_t>(first + j);
    b[j] = static_cast<std::uint32_t>((first + j) >> 32);
  }
  for (int round = 0; round < 10; ++round) {
    for (int j = 0; j < kPhiloxLanes; ++j) {
      const std::uint64_t left = std::uint64_t{a[j]} * 0xd2511f53u;
      const std::uint64_t right = std::uint64_t{c[j]} * 0xcd9e8d57u;
      a[j] = static_cast<std::uint32_t>(right >> 32) ^ b[j] ^ key.low;
      b[j] = static_cast<std::uint32_t>(right);
      c[j] = static_cast<std::uint32_t>(left >> 32) ^ d[j] ^ key.high;
      d[j] = static_cast<std::uint32_t>(left);
    }
    key.low += 0x9e3779b9u;
    key.high += 0xbb67ae85u;
  }
  for (int j = 0; j < kPhiloxLanes; ++j) {
    words[4 * j + 0] = a[j];
    words[4 * j + 1] = b[j];
    words[4 * j + 2] = c[j];
    words[4 * j + 3] = d[j];
  }
}

inline __attribute__((always_inline)) const std::uint32_t* draw_words_body(PhiloxKey key, std::int64_t first, int count,
                                                                            std::uint32_t* room) {
  const int skipped = static_cast<int>(first % 4);
  for (int done = 0; done < skipped + count; done += 4 * kPhiloxLanes)
    philox_blocks(key, static_cast<std::uint64_t>((first + done) / 4), room + done);
  return room + skipped;
}

}  // namespace

M2M_CLONES(const std::uint32_t*, draw_words, (PhiloxKey key, std::int64_t first, int count, std::uint32_t* room),
           (key, first, count, room))

}  // namespace m2m
