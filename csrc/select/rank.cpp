#include "select/rank.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace m2m {

namespace {

// `vector = {}` would keep the memory, for every tensor that is looked at together with others.
template <class T>
void give_back(std::vector<T>& vector) {
  std::vector<T>().swap(vector);
}

}  // namespace

RankEdge edge_at(std::uint64_t key, std::int64_t room, std::vector<ChunkShare> shares) {
  std::sort(shares.begin(), shares.end(), [](const ChunkShare& a, const ChunkShare& b) { return a.first < b.first; });
  auto last = shares.cbegin();
  for (; last->equal < room; ++last) room -= last->equal;
  return {key, last->first, room};
}

RankSearch::RankSearch(std::int64_t total, int key_bits, int digit_bits, std::int64_t most_keys, RankGoal goal)
    : digit_{0, std::max(0, key_bits - digit_bits), std::min(key_bits, digit_bits)},
      digit_bits_(digit_bits),
      most_keys_(most_keys),
      goal_(goal),
      total_(total),
      left_(total) {
  if (gathering_pays(key_bits)) digit_ = {0, key_bits, 0, true};
}

void RankSearch::set_rank(std::int64_t rank) {
  rank_ = rank;
  if (goal_ == RankGoal::key) return;
  done_ = rank == 0 || rank == total_;
  edge_ = rank == 0 ? RankEdge::nothing() : RankEdge::everything();
}

void RankSearch::end_sample(std::int64_t rank) {
  sampled_ = true;
  if (done_ || !guess_->choose(has_rank() ? rank_ : rank)) guess_.reset();
}

void RankSearch::begin_look() {
  if (guess_) return;
  chunks_.clear();
  met_ = 0;
  if (digit_.gathers) {
    keys_.reserve(left_);
  } else {
    counts_.assign(digit_.bins(), 0);
  }
}

void RankSearch::add(const std::uint32_t* counts, std::int64_t low, std::int64_t high, std::int64_t chunk_first) {
  std::int64_t took_part = counts[0];
  counts_[0] += counts[0];
  for (std::int64_t bin = std::max<std::int64_t>(low, 1); bin <= high; ++bin) {
    counts_[bin] += counts[bin];
    took_part += counts[bin];
  }
  met_ += took_part;
  if (took_part > 0) chunks_.push_back({chunk_first, counts[0], took_part});
}

void RankSearch::gather(const std::vector<std::uint64_t>& keys, std::int64_t chunk_first) {
  if (keys.empty()) return;
  met_ += static_cast<std::int64_t>(keys.size());
  if (met_ > left_) throw LooksDiffer();  // also bounds the memory
  keys_.insert(keys_.end(), keys.begin(), keys.end());
  chunks_.push_back({chunk_first, 0, static_cast<std::int64_t>(keys.size())});
}

void RankSearch::end_look() {
  if (guess_) {
    done_ = done_ || guess_->settle(rank_, edge_);
    guess_.reset();
    return;
  }
  if (!done_) {
    if (met_ != left_) throw LooksDiffer();
    digit_.gathers ? settle() : narrow();
  }
  give_back(counts_);
  give_back(keys_);
  if (done_) give_back(chunks_);
}

void RankSearch::narrow() {
  const std::int64_t bin = choose_bin();
  const std::int64_t in_bin = counts_[bin];
  const std::uint64_t lower_edge = ((digit_.prefix << digit_.bits) | static_cast<std::uint64_t>(bin)) << digit_.shift;
  if (goal_ == RankGoal::key) {
    edge_.key = lower_edge;
    done_ = digit_.shift == 0;
    if (!done_) next_digit(bin);
  } else if (rank_ == in_bin) {  // the whole bin is selected: no need to know what is in it
    edge_ = {lower_edge, RankEdge::all, 0};
    done_ = true;
  } else if (digit_.shift == 0 && (bin == 0 || met_ == in_bin)) {  // it is known which chunks hold how many that are equal
    std::vector<ChunkShare> shares;
    for (const ChunkCount& chunk : chunks_) shares.push_back({chunk.first, bin == 0 ? chunk.in_first_bin : chunk.in_all_bins});
    edge_ = edge_at(lower_edge, rank_, std::move(shares));
    done_ = true;
  } else {
    next_digit(bin);
  }
}

// The bin in which the rank-th largest lies; rank_ becomes its rank there.
std::int64_t RankSearch::choose_bin() {
  std::int64_t bin = digit_.bins() - 1;
  for (; bin > 0 && counts_[bin] < rank_; --bin) rank_ -= counts_[bin];
  return bin;
}

// When no bits are left, a digit of no bits at all counts, chunk by chunk, the elements that equal the edge.
void RankSearch::next_digit(std::int64_t bin) {
  left_ = counts_[bin];
  const bool gathers = gathering_pays(digit_.shift);
  const int bits = gathers ? 0 : std::min(digit_.shift, digit_bits_);
  digit_ = {(digit_.prefix << digit_.bits) | static_cast<std::uint64_t>(bin), digit_.shift - bits, bits, gathers};
}

// One look can count that many bits as well, and counting is faster.
bool RankSearch::gathering_pays(int bits_left) const { return bits_left > digit_bits_ && left_ <= most_keys_; }

void RankSearch::settle() {
  std::vector<std::uint64_t> sorted = keys_;
  std::nth_element(sorted.begin(), sorted.begin() + (rank_ - 1), sorted.end(), std::greater<>());
  edge_.key = sorted[rank_ - 1];
  done_ = true;
  if (goal_ == RankGoal::key) return;
  std::vector<ChunkShare> shares;
  auto key = keys_.cbegin();
  for (const ChunkCount& chunk : chunks_) {
    const auto end = key + chunk.in_all_bins;
    shares.push_back({chunk.first, std::count(key, end, edge_.key)});
    key = end;
  }
  rank_ -= std::count_if(keys_.begin(), keys_.end(), [&](std::uint64_t other) { return other > edge_.key; });
  edge_ = edge_at(edge_.key, rank_, std::move(shares));
}

}  // namespace m2m
