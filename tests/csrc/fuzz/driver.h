// What makes a target a program: libFuzzer's entry, or what compilers without libFuzzer can do.
//
//   TARGET seeds FIRST COUNT SECONDS   tries COUNT seeds from FIRST on, and more until the time is up
//   TARGET files PATH ...              tries what a fuzzer has found
#pragma once

#include <sanitizer/common_interface_defs.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "draws.h"

namespace m2m {

// The target: makes its choices, runs, and says how it ended.
const char* try_once(Draws draws);

inline std::uint64_t current_seed;

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\nseed %" PRIu64 "\n", what, current_seed);
  std::abort();
}

}  // namespace m2m

#if defined(M2M_LIBFUZZER)

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  m2m::try_once({bytes, count});
  return 0;
}

#else

namespace m2m {

using Outcomes = std::map<std::string, int>;

inline Outcomes try_seeds(std::uint64_t first, std::uint64_t least, double seconds) {
  const std::chrono::duration<double> budget(seconds);
  const auto started = std::chrono::steady_clock::now();
  Outcomes outcomes;
  current_seed = first;
  do ++outcomes[try_once(current_seed)];
  while (++current_seed - first < least || std::chrono::steady_clock::now() - started < budget);
  return outcomes;
}

inline Outcomes try_files(char** paths) {
  Outcomes outcomes;
  for (; *paths != nullptr; ++paths) {
    std::ifstream file(*paths, std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    std::fprintf(stderr, "%s\n", *paths);
    ++outcomes[try_once({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()})];
  }
  return outcomes;
}

}  // namespace m2m

int main(int argc, char** argv) {
  using namespace m2m;
  const std::string mode = argc > 2 ? argv[1] : "";
  if (mode != "files" && (mode != "seeds" || argc != 5)) {
    return std::fprintf(stderr, "usage: %s seeds FIRST COUNT SECONDS | files PATH ...\n", argv[0]), 2;
  }
  __sanitizer_set_death_callback([] { std::fprintf(stderr, "seed %" PRIu64 "\n", current_seed); });
  Outcomes outcomes;
  try {
    outcomes = mode == "files" ? try_files(argv + 2)
                               : try_seeds(std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10),
                                           std::strtod(argv[4], nullptr));
  } catch (const std::exception& error) {
    require(false, error.what());
  }
  for (const auto& [outcome, count] : outcomes) std::printf("%d %s\n", count, outcome.c_str());
}

#endif
