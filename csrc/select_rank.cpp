#include "select_rank.h"

#include <algorithm>

namespace m2m {

namespace {

// `vector = {}` would keep the memory, for every tensor that is looked at together with others.
template <class T>
void give_back(std::vector<T>& vector) {
  std::vector<T>().swap(vector);
}

}  // namespace

RankSearch::RankSearch(std::int64_t total, int key_bits, int digit_bits, RankGoal goal)
    : digit_{0, std::max(0, key_bits - digit_bits), std::min(key_bits, digit_bits)}, digit_bits_(digit_bits), goal_(goal), total_(total) {}

void RankSearch::set_rank(std::int64_t rank) {
  rank_ = rank;
  if (goal_ == RankGoal::key) return;
  done_ = rank == 0 || rank == total_;
  edge_ = rank == 0 ? RankEdge::nothing() : RankEdge::everything();
}

void RankSearch::begin_look() {
  counts_.assign(digit_.bins(), 0);
  chunks_.clear();
}

void RankSearch::add(const std::uint32_t* counts, std::int64_t low, std::int64_t high, std::int64_t chunk_first) {
  std::int64_t took_part = counts[0];
  counts_[0] += counts[0];
  for (std::int64_t bin = std::max<std::int64_t>(low, 1); bin <= high; ++bin) {
    counts_[bin] += counts[bin];
    took_part += counts[bin];
  }
  if (took_part > 0) chunks_.push_back({chunk_first, counts[0], took_part});
}

void RankSearch::end_look() {
  if (!done_) narrow();
  give_back(counts_);
  if (done_) give_back(chunks_);
}

void RankSearch::narrow() {
  const std::int64_t bin = choose_bin();
  const std::int64_t in_bin = counts_[bin];
  const std::uint64_t lower_edge = ((digit_.prefix << digit_.bits) | static_cast<std::uint64_t>(bin)) << digit_.shift;
  std::int64_t took_part = 0;
  for (const ChunkCount& chunk : chunks_) took_part += chunk.in_all_bins;
  if (goal_ == RankGoal::key) {
    edge_.key = lower_edge;
    done_ = digit_.shift == 0;
    if (!done_) next_digit(bin);
  } else if (rank_ == in_bin) {  // the whole bin is selected: no need to know what is in it
    edge_ = {lower_edge, RankEdge::all, 0};
    done_ = true;
  } else if (digit_.shift == 0 && (bin == 0 || took_part == in_bin)) {  // it is known which chunks hold how many that are equal
    edge_.key = lower_edge;
    place_cut(bin);
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
  const int bits = std::min(digit_.shift, digit_bits_);
  digit_ = {(digit_.prefix << digit_.bits) | static_cast<std::uint64_t>(bin), digit_.shift - bits, bits};
}

void RankSearch::place_cut(std::int64_t bin) {
  const auto equal = [&](const ChunkCount& chunk) { return bin == 0 ? chunk.in_first_bin : chunk.in_all_bins; };
  std::sort(chunks_.begin(), chunks_.end(), [](const ChunkCount& a, const ChunkCount& b) { return a.first < b.first; });
  std::int64_t room = rank_;
  std::size_t last = 0;
  for (; equal(chunks_[last]) < room; ++last) room -= equal(chunks_[last]);
  edge_.from = chunks_[last].first;
  edge_.quota = room;
}

}  // namespace m2m
