// A range of elements, cut into parts that threads work on side by side.
#pragma once

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace m2m {

// Calls work(begin, end) for parts of [0, count) on at most `threads` threads (>= 1), the caller's one of them. Parts begin at
// multiples of `block` and have about `least` elements or more. With one part nothing is allocated, started or locked.
template <class Work>
void run_parts(std::int64_t count, std::int64_t block, std::int64_t least, int threads, const Work& work) {
  const std::int64_t worthwhile = (count + least - 1) / least;
  const std::int64_t parts = std::max<std::int64_t>(1, std::min<std::int64_t>(threads, worthwhile));
  if (parts == 1) return work(std::int64_t{0}, count);
  const std::int64_t blocks = (count + block - 1) / block;
  const auto edge = [&](std::int64_t part) { return std::min(count, blocks * part / parts * block); };
  std::vector<std::thread> workers;
  workers.reserve(parts - 1);
  std::int64_t part = 1;
  try {
    for (; part < parts; ++part) workers.emplace_back(std::cref(work), edge(part), edge(part + 1));
  } catch (const std::system_error&) {  // the system gives no more threads: the caller's does the rest
    work(edge(part), count);
  }
  work(std::int64_t{0}, edge(1));
  for (std::thread& worker : workers) worker.join();
}

}  // namespace m2m
