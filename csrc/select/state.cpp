#include "select/state.h"

#include <algorithm>
#include <cmath>

#include "core/arithmetic.h"

namespace m2m {

namespace {

// Adds the second set of bins to the first, and gives it back empty.
void merge_sets(std::vector<std::uint32_t>& counts, std::int64_t bins, const BinRange& range) {
  const auto merge = [&](std::int64_t bin) {
    counts[bin] += counts[bins + bin];
    counts[bins + bin] = 0;
  };
  merge(0);
  for (std::int64_t bin = std::max<std::int64_t>(range.low, 1); bin <= range.high; ++bin) merge(bin);
}

void clear_set(std::vector<std::uint32_t>& counts, const BinRange& range) {
  counts[0] = 0;
  if (range.high > 0) std::fill(counts.begin() + std::max<std::int64_t>(range.low, 1), counts.begin() + range.high + 1, 0);
}

// More rows than this are measured in every look anew.
constexpr std::int64_t kMostDivergences = 1 << 17;

// Keys that, held twice, fill the room of the counts of one look.
std::int64_t most_keys(int digit_bits) { return (std::int64_t{1} << digit_bits) / 2; }

// What signed_keys does, backwards.
double value_of(std::uint64_t key) {
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  return bit_cast<double>(key & sign ? key ^ sign : ~key);
}

bool seeks(const std::vector<RankSearch>& searches) {
  return std::any_of(searches.begin(), searches.end(), [](const RankSearch& search) { return !search.done(); });
}

}  // namespace

SelectState::SelectState(const SelectSpec& spec, std::int64_t total, Dtype dtype, const SearchRoom& room)
    : spec_(spec), total_(total), left_(total) {
  for (const ExpertSpec& expert : spec.experts) scales_.push_back(expert.scale);
  seek_ranks(dtype, room.digit_bits);
  advance();
  if (room.guess_keys > 0 && stage_ == Stage::ranks && !spec.needs_rows()) choose_sample(room.guess_keys);
}

// Where a sample would be too large to be held, ranks are found digit by digit.
void SelectState::choose_sample(std::int64_t guess_keys) {
  const Sample sample = Sample::of(total_, guess_keys);
  if (sample.count(total_) > guess_keys) return;
  sample_ = sample;
  left_ = sample.count(total_);
  for (std::vector<RankSearch>& searches : searches_)
    for (RankSearch& search : searches) search.guess_first(guess_keys);
}

void SelectState::seek_ranks(Dtype dtype, int digit_bits) {
  if (by_energy()) {
    searches_.resize(1);
    // One search has the room of two an expert.
    const auto n_keys = 2 * static_cast<std::int64_t>(spec_.experts.size()) * most_keys(digit_bits);
    if (spec_.share < 1) searches_[0].emplace_back(total_, SelectChunk<double>::variance_bits, digit_bits, n_keys);
    return;
  }
  if (fuses()) return seek_quartiles(digit_bits);
  const int bits = dtype == Dtype::f64 ? SelectChunk<double>::magnitude_bits : SelectChunk<float>::magnitude_bits;
  searches_.resize(spec_.experts.size());
  for (std::size_t n = 0; n < spec_.experts.size(); ++n) {
    const ExpertSpec& expert = spec_.experts[n];
    if (expert.trim != Trim::largest) continue;
    for (const std::int64_t rank : {expert.dropped + expert.kept, expert.dropped}) {
      searches_[n].emplace_back(total_, bits, digit_bits, most_keys(digit_bits));
      searches_[n].back().set_rank(rank);
    }
  }
}

// Quantile f is the element of rank floor(f (P - 1)), ascending.
void SelectState::seek_quartiles(int digit_bits) {
  searches_.resize(1);
  if (total_ / spec_.row <= kMostDivergences) divergences_.resize(total_ / spec_.row);
  for (const double quantile : {0.25, 0.5, 0.75}) {
    const auto rank = static_cast<std::int64_t>(quantile * static_cast<double>(total_ - 1));
    searches_[0].emplace_back(total_, SelectChunk<double>::importance_bits, digit_bits, most_keys(digit_bits), RankGoal::key);
    searches_[0].back().set_rank(total_ - rank);
  }
}

bool SelectState::cuts() const {
  return !fuses() && std::any_of(searches_.begin(), searches_.end(), [](const auto& searches) { return !searches.empty(); });
}

bool SelectState::needs(int expert) const {
  if (stage_ == Stage::ready) return false;
  if (by_energy()) return true;
  return stage_ == Stage::ranks ? seeks(searches_[fuses() ? 0 : expert]) : spec_.experts[expert].keeps_norm;
}

// Moves on to the first stage that has something left to do.
void SelectState::advance() {
  if (stage_ == Stage::ranks && std::none_of(searches_.begin(), searches_.end(), seeks)) stage_ = Stage::sums;
  const auto keeps_norm = [](const ExpertSpec& expert) { return expert.keeps_norm; };
  const bool sums = by_energy() || std::any_of(spec_.experts.begin(), spec_.experts.end(), keeps_norm);
  if (stage_ == Stage::sums && (!sums || !sums_.empty())) stage_ = Stage::ready;
}

void SelectState::begin_look() {
  if (stage_ == Stage::ranks) {
    for (std::vector<RankSearch>& searches : searches_)
      for (RankSearch& search : searches)
        if (!search.done()) search.begin_look();
    return;
  }
  std::size_t n_sums = spec_.experts.size();
  if (!by_energy())
    n_sums = 2 * std::count_if(spec_.experts.begin(), spec_.experts.end(), [](auto& e) { return e.keeps_norm; });
  for (std::size_t k = 0; k < n_sums; ++k) sums_.push_back(std::make_unique<OrderedSum>(total_));
}

void SelectState::end_look() {
  if (samples()) {
    end_sample();
  } else if (stage_ == Stage::ranks) {
    end_ranks();
  } else {
    end_sums();
  }
  left_ = total_;
  looked_ = true;
  advance();
}

void SelectState::end_sample() {
  const std::int64_t met = sample_->count(total_);
  const double expected =
      spec_.share * static_cast<double>(met - zeros_) * static_cast<double>(total_) / static_cast<double>(met);
  for (std::vector<RankSearch>& searches : searches_)
    for (RankSearch& search : searches) search.end_sample(static_cast<std::int64_t>(expected));
  zeros_ = 0;
}

void SelectState::end_ranks() {
  for (std::vector<RankSearch>& searches : searches_) {
    for (RankSearch& search : searches) {
      // Only elements whose variance is not zero count, and how many there are the first look tells.
      if (!search.has_rank()) search.set_rank(static_cast<std::int64_t>(spec_.share * static_cast<double>(total_ - zeros_)));
      search.end_look();  // also of one that needs it no more: its counts go
    }
  }
}

void SelectState::end_sums() {
  if (by_energy()) {
    double total = 0;
    for (const auto& energy : sums_) total += energy->value();
    for (const auto& energy : sums_) shares_.push_back(total > 0 ? energy->value() / total : 1.0 / spec_.experts.size());
    return;
  }
  auto sum = sums_.begin();
  for (std::size_t n = 0; n < spec_.experts.size(); ++n) {
    if (!spec_.experts[n].keeps_norm) continue;
    const double before = (*sum++)->value(), after = (*sum++)->value();
    scales_[n] = after > 0 ? before / after : 1.0;
  }
}

template <class Real>
void SelectState::look(const SelectInputs& inputs, SelectScratch<Real>& scratch) {
  {
    std::lock_guard lock(mutex_);
    if (!begun_) begin_look();
    begun_ = true;
  }
  if (stage_ == Stage::ranks) {
    look_for_ranks(inputs, scratch);
  } else {
    look_for_sums(inputs, scratch);
  }
  std::lock_guard lock(mutex_);
  left_ -= inputs.count;
  if (left_ > 0) return;
  end_look();
  begun_ = false;
}

template <class Real>
void SelectState::look_for_ranks(const SelectInputs& inputs, SelectScratch<Real>& scratch) {
  SelectChunk<Real> chunk(inputs, spec_, scratch);
  const double* rows = fuses() ? divergences(chunk, inputs, scratch) : nullptr;
  for (std::size_t source = 0; source < searches_.size(); ++source) {
    if (!seeks(searches_[source])) continue;
    if (samples()) {
      look_at_sample(chunk, source, scratch);
    } else {
      look_by_brackets(chunk, source, inputs.first, scratch);
      look_by_digits(chunk, source, inputs, rows, scratch);
    }
  }
}

template <class Real>
void SelectState::look_at_sample(SelectChunk<Real>& chunk, std::size_t source, SelectScratch<Real>& scratch) {
  const int key_bits = by_energy() ? SelectChunk<Real>::variance_bits : SelectChunk<Real>::magnitude_bits;
  gather(chunk, source, nullptr, {0, key_bits, 0, true});  // all keys
  std::lock_guard lock(mutex_);
  zeros_ += std::count(scratch.gathered.begin(), scratch.gathered.end(), 0u);
  for (RankSearch& search : searches_[source])
    if (!search.done()) search.guess().add_sample(scratch.gathered);
}

template <class Real>
void SelectState::look_by_brackets(SelectChunk<Real>& chunk, std::size_t source, std::int64_t first,
                                   SelectScratch<Real>& scratch) {
  std::vector<RankSearch*> guessed;
  for (RankSearch& search : searches_[source])
    if (!search.done() && search.look() == RankSearch::Look::bracket) guessed.push_back(&search);
  if (guessed.empty()) return;
  scratch.brackets.resize(guessed.size());
  for (std::size_t i = 0; i < guessed.size(); ++i) {
    scratch.brackets[i].bracket = guessed[i]->guess().bracket();
    scratch.brackets[i].counts = {};
    scratch.brackets[i].between.clear();
  }
  by_energy() ? chunk.bracket_variances() : chunk.bracket_magnitudes(static_cast<int>(source));
  std::lock_guard lock(mutex_);
  zeros_ += scratch.brackets[0].counts.zeros;
  for (std::size_t i = 0; i < guessed.size(); ++i)
    guessed[i]->guess().add(scratch.brackets[i].counts, scratch.brackets[i].between, first);
}

template <class Real>
void SelectState::look_by_digits(SelectChunk<Real>& chunk, std::size_t source, const SelectInputs& inputs, const double* rows,
                                 SelectScratch<Real>& scratch) {
  const auto goes_by = [](const RankSearch& search) { return !search.done() && search.look() == RankSearch::Look::digit; };
  const RankSearch* counted = nullptr;
  for (RankSearch& search : searches_[source]) {
    if (!goes_by(search) || (counted && counted->digit() == search.digit())) continue;
    counted = &search;
    const RankDigit& digit = search.digit();
    if (digit.gathers) {
      gather(chunk, source, rows, digit);
      std::lock_guard lock(mutex_);
      if (!search.has_rank()) zeros_ += std::count(scratch.gathered.begin(), scratch.gathered.end(), 0u);
      for (RankSearch& other : searches_[source])
        if (goes_by(other) && other.digit() == digit) other.gather(scratch.gathered, inputs.first);
      continue;
    }
    if (static_cast<std::int64_t>(scratch.counts.size()) < 2 * digit.bins()) scratch.counts.resize(2 * digit.bins());
    const BinRange range = count(chunk, source, rows, digit);
    merge_sets(scratch.counts, digit.bins(), range);
    std::lock_guard lock(mutex_);
    zeros_ += range.zeros;
    for (RankSearch& other : searches_[source])
      if (goes_by(other) && other.digit() == digit) other.add(scratch.counts.data(), range.low, range.high, inputs.first);
    clear_set(scratch.counts, range);
  }
}

template <class Real>
void SelectState::gather(SelectChunk<Real>& chunk, std::size_t source, const double* rows, const RankDigit& digit) {
  if (by_energy()) return chunk.gather_variances(digit);
  if (fuses()) return chunk.gather_importances(rows, digit);
  chunk.gather_magnitudes(static_cast<int>(source), digit);
}

template <class Real>
BinRange SelectState::count(SelectChunk<Real>& chunk, std::size_t source, const double* rows, const RankDigit& digit) {
  if (by_energy()) return chunk.count_variances(digit);
  if (fuses()) return chunk.count_importances(rows, digit);
  return chunk.count_magnitudes(static_cast<int>(source), digit);
}

// Of the chunk's rows; measured once if there is room to keep them.
template <class Real>
const double* SelectState::divergences(SelectChunk<Real>& chunk, const SelectInputs& inputs, SelectScratch<Real>& scratch) {
  if (divergences_.empty()) scratch.divergences.resize(inputs.count / spec_.row);
  double* rows = divergences_.empty() ? scratch.divergences.data() : divergences_.data() + inputs.first / spec_.row;
  if (divergences_.empty() || !looked_) chunk.measure_divergences(rows);
  return rows;
}

// Of an importance that is large enough: the median and one and a half times the distance of the quartiles.
std::uint64_t SelectState::least_key() const {
  const std::vector<RankSearch>& quartiles = searches_[0];
  const auto value = [&](int i) { return value_of(quartiles[i].edge().key); };
  const double least = value(1) + 1.5 * (value(2) - value(0));
  std::uint64_t key;
  signed_keys(&least, 1, &key);
  return key;
}

template <class Real>
void SelectState::look_for_sums(const SelectInputs& inputs, SelectScratch<Real>& scratch) {
  SelectChunk<Real> chunk(inputs, spec_, scratch);
  std::vector<OrderedSum::Cursor> cursors;
  for (const auto& sum : sums_) cursors.emplace_back(*sum, inputs.first);
  if (by_energy()) {
    chunk.add_energies(selected(chunk), cursors);
  } else {
    chunk.add_norms(trims(chunk), cursors);
  }
  for (OrderedSum::Cursor& cursor : cursors) cursor.finish();
}

template <class Real>
LocalEdge SelectState::selected(SelectChunk<Real>& chunk) const {
  return chunk.variance_edge(searches_[0].empty() ? RankEdge::everything() : searches_[0][0].edge());
}

template <class Real>
std::vector<ChunkTrim> SelectState::trims(SelectChunk<Real>& chunk) const {
  std::vector<ChunkTrim> trims;
  for (std::size_t n = 0; n < spec_.experts.size(); ++n) {
    ChunkTrim trim{};
    if (!searches_[n].empty() && chunk.has(n)) {
      trim.outer = chunk.magnitude_edge(static_cast<int>(n), searches_[n][0].edge());
      trim.inner = chunk.magnitude_edge(static_cast<int>(n), searches_[n][1].edge());
    }
    trims.push_back(trim);
  }
  return trims;
}

template <class Real>
void SelectState::write(const SelectInputs& inputs, SelectScratch<Real>& scratch, Dtype output, void* const* outs) {
  SelectChunk<Real> chunk(inputs, spec_, scratch);
  if (fuses()) {
    chunk.write_fused(divergences(chunk, inputs, scratch), least_key(), output, outs);
  } else if (by_energy()) {
    chunk.write_energy(selected(chunk), shares_, output, outs);
  } else {
    chunk.write_trimmed(trims(chunk), scales_, output, outs);
  }
}

template void SelectState::look(const SelectInputs&, SelectScratch<float>&);
template void SelectState::look(const SelectInputs&, SelectScratch<double>&);
template void SelectState::write(const SelectInputs&, SelectScratch<float>&, Dtype, void* const*);
template void SelectState::write(const SelectInputs&, SelectScratch<double>&, Dtype, void* const*);

}  // namespace m2m
