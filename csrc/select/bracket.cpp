#include "select/bracket.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace m2m {

namespace {

// Standard errors between the guess and either end: one guess in some ten thousands is wrong.
constexpr double kDoubts = 4;

// What is gathered of a sorted run can be far from even; twice the expected number of keys is still worth a try.
constexpr double kSurprise = 2;

}  // namespace

// With n elements in the sample a bracket holds about kDoubts P / sqrt(n) keys: the sum of both is least at the first bound.
// The second one keeps the bracket's keys few enough to be held.
Sample Sample::of(std::int64_t total, std::int64_t most_keys) {
  const auto all = static_cast<double>(total);
  const double cheapest = std::pow(kDoubts / 2 * all, 2.0 / 3);
  const double narrow_enough = std::pow(kSurprise * kDoubts * all / static_cast<double>(most_keys), 2);
  const double wanted = std::max({cheapest, narrow_enough, 1.0});
  // Odd, so that the pieces do not always lie in the same columns of a matrix.
  return {std::max(piece, static_cast<std::int64_t>(all * piece / wanted)) | 1};
}

std::int64_t Sample::count(std::int64_t total) const { return total / stride * piece + std::min(total % stride, piece); }

void BracketSearch::add_sample(const std::vector<std::uint64_t>& keys) {
  // A sample that is cut short can mislead: the bracket then misses, or is too wide.
  if (static_cast<std::int64_t>(keys_.size() + keys.size()) <= most_keys_) keys_.insert(keys_.end(), keys.begin(), keys.end());
}

// Standard error of how many keys of the sample are at least `key`, pieces taken as a sample of all pieces: neighbours may be
// alike (Cochran, "Sampling techniques", section 9A).
double BracketSearch::doubt(std::uint64_t key) const {
  double n = 0, sum = 0, squares = 0;
  for (auto from = keys_.begin(); from != keys_.end();) {
    const auto end = from + std::min<std::int64_t>(Sample::piece, keys_.end() - from);
    const auto met = static_cast<double>(std::count_if(from, end, [&](std::uint64_t other) { return other >= key; }));
    n += 1;
    sum += met;
    squares += met * met;
    from = end;
  }
  return std::sqrt(std::max(0.0, squares - sum * sum / n) + 1);
}

bool BracketSearch::choose(std::int64_t rank) {
  const auto n = static_cast<std::int64_t>(keys_.size());
  if (n == 0) return false;
  std::vector<std::uint64_t> sorted = keys_;
  const auto at = [&](std::int64_t place) {
    std::nth_element(sorted.begin(), sorted.begin() + place, sorted.end(), std::greater<>());
    return sorted[place];
  };
  const double place = static_cast<double>(rank) / static_cast<double>(total_) * static_cast<double>(n);
  const double margin = kDoubts * doubt(at(std::clamp<std::int64_t>(static_cast<std::int64_t>(place), 0, n - 1)));
  const auto first = static_cast<std::int64_t>(std::floor(place - margin)),
             last = static_cast<std::int64_t>(std::ceil(place + margin));
  bracket_ = {last >= n ? 0 : at(last), first < 0 ? UINT64_MAX : at(first)};
  const auto inside =
      std::count_if(keys_.begin(), keys_.end(), [&](auto key) { return key > bracket_.low && key < bracket_.high; });
  std::vector<std::uint64_t>().swap(keys_);
  const double expected = static_cast<double>(inside) / static_cast<double>(n) * static_cast<double>(total_);
  if (expected > static_cast<double>(most_keys_)) return false;
  keys_.reserve(static_cast<std::size_t>(std::min(kSurprise * expected, static_cast<double>(most_keys_))));
  return true;
}

void BracketSearch::add(const BracketCounts& counts, const std::vector<std::uint64_t>& between, std::int64_t chunk_first) {
  above_ += counts.above;
  overflowed_ = overflowed_ || static_cast<std::int64_t>(keys_.size() + between.size()) > most_keys_;
  if (overflowed_) return;
  keys_.insert(keys_.end(), between.begin(), between.end());
  if (counts.at_high + counts.at_low > 0 || !between.empty())
    chunks_.push_back({chunk_first, counts.at_high, counts.at_low, static_cast<std::int64_t>(between.size())});
}

bool BracketSearch::settle(std::int64_t rank, RankEdge& edge) {
  std::int64_t at_high = 0, at_low = 0;
  for (const ChunkCount& chunk : chunks_) {
    at_high += chunk.at_high;
    at_low += chunk.at_low;
  }
  const auto between = static_cast<std::int64_t>(keys_.size());
  const std::int64_t room = rank - above_;
  if (overflowed_ || room <= 0 || room > at_high + between + at_low) return false;
  if (room <= at_high) {
    edge = edge_at(bracket_.high, room, shares_of(bracket_.high));
  } else if (room > at_high + between) {
    edge = edge_at(bracket_.low, room - at_high - between, shares_of(bracket_.low));
  } else {
    const std::uint64_t key = key_of_rank(room - at_high);
    const auto larger = std::count_if(keys_.begin(), keys_.end(), [&](std::uint64_t other) { return other > key; });
    edge = edge_at(key, room - at_high - larger, shares_of(key));
  }
  return true;
}

// Of the keys between, digit by digit: their order tells in which chunks they lie, and stays.
std::uint64_t BracketSearch::key_of_rank(std::int64_t rank) const {
  constexpr int bits = 11;
  const std::uint64_t origin = bracket_.low;
  std::uint64_t prefix = 0;
  int shift = 64;
  while (shift > 0 && ((bracket_.high - origin) >> (shift - 1)) == 0) --shift;
  for (int above = shift; above > 0; above = shift) {
    shift = std::max(0, above - bits);
    std::vector<std::int64_t> counts(std::size_t{1} << (above - shift));
    for (const std::uint64_t key : keys_) {
      const std::uint64_t digits = (key - origin) >> shift;
      if (digits >> (above - shift) == prefix) ++counts[digits & (counts.size() - 1)];
    }
    std::size_t bin = counts.size() - 1;
    for (; counts[bin] < rank; --bin) rank -= counts[bin];
    prefix = (prefix << (above - shift)) | bin;
  }
  return origin + prefix;
}

std::vector<ChunkShare> BracketSearch::shares_of(std::uint64_t key) const {
  std::vector<ChunkShare> shares;
  auto from = keys_.begin();
  for (const ChunkCount& chunk : chunks_) {
    const auto end = from + chunk.between;
    const std::int64_t at_an_end = key == bracket_.high ? chunk.at_high : key == bracket_.low ? chunk.at_low : 0;
    shares.push_back({chunk.first, at_an_end + std::count(from, end, key)});
    from = end;
  }
  return shares;
}

}  // namespace m2m
