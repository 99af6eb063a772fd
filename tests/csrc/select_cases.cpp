// Selection's parts by themselves: draws, ranks in rows, ranks over a stream, ordered sums.
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "core/merge.h"
#include "core/ordered_sum.h"
#include "core/philox.h"
#include "select/blocks.h"
#include "select/bracket.h"
#include "select/rank.h"
#include "select/rows.h"

using namespace m2m;

namespace {

std::mt19937_64 random_bits(7);

std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
    if (isa_available(isa)) all.push_back(isa);
  return all;
}

// Few different keys, many, or nearly equal ones.
template <class Key>
std::vector<Key> make_keys(std::int64_t count, int kind) {
  std::vector<Key> keys(count);
  for (Key& key : keys) {
    const auto bits = static_cast<Key>(random_bits() >> 1);
    const Key any = bits & (~Key{0} >> 1), short_one = any >> (8 * sizeof(Key) - 9) << (8 * sizeof(Key) - 9);
    switch (kind) {
      case 0: key = bits % 5; break;
      case 1: key = any; break;
      case 2: key = static_cast<Key>((Key{3} << 20) + bits % 3); break;
      case 3: key = bits % 9 == 0 ? any : bits % 7 == 0 ? Key{0} : short_one; break;  // few long among short ones and zeros
      default: key = bits % 3 == 0 ? short_one : any;
    }
  }
  return keys;
}

// Larger keys first, of equal ones the lower index.
template <class Key>
std::vector<std::int64_t> order_of(const std::vector<Key>& keys) {
  std::vector<std::int64_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return keys[a] > keys[b]; });
  return order;
}

template <class Key>
void check_row_ranks(std::int64_t columns, int kind) {
  const std::vector<Key> keys = make_keys<Key>(columns, kind);
  std::vector<std::uint32_t> ranks(columns);
  RowRanker<Key> ranker;
  for (int again = 0; again < 2; ++again) ranker.rank(keys.data(), columns, ranks.data());
  const std::vector<std::int64_t> order = order_of(keys);
  for (std::int64_t place = 0; place < columns; ++place)
    CHECK(ranks[order[place]] == place, "columns %ld kind %d place %ld", long(columns), kind, long(place));
}

// Runs a search over chunks in random order until it is done.
template <class Key>
int search(RankSearch& rank_search, const std::vector<Key>& keys, std::int64_t chunk) {
  int looks = 0;
  for (; !rank_search.done(); ++looks) {
    const RankDigit digit = rank_search.digit();
    std::vector<std::int64_t> starts;
    for (std::int64_t first = 0; first < std::int64_t(keys.size()); first += chunk) starts.push_back(first);
    std::shuffle(starts.begin(), starts.end(), random_bits);
    rank_search.begin_look();
    for (const std::int64_t first : starts) {
      const std::int64_t end = std::min<std::int64_t>(first + chunk, keys.size());
      if (digit.gathers) {
        std::vector<std::uint64_t> found;
        for (std::int64_t i = first; i < end; ++i)
          if ((keys[i] >> digit.shift) == digit.prefix) found.push_back(keys[i]);
        rank_search.gather(found, first);
        continue;
      }
      std::vector<std::uint32_t> counts(digit.bins());
      for (std::int64_t i = first; i < end; ++i)
        if ((keys[i] >> (digit.shift + digit.bits)) == digit.prefix) ++counts[(keys[i] >> digit.shift) & (digit.bins() - 1)];
      rank_search.add(counts.data(), 0, digit.bins() - 1, first);
    }
    rank_search.end_look();
  }
  return looks;
}

template <class Key>
bool is_selected(const std::vector<Key>& keys, const RankEdge& edge, std::int64_t index) {
  if (keys[index] != edge.key) return keys[index] > edge.key;
  if (index < edge.from) return true;
  std::int64_t before = 0;
  for (std::int64_t i = edge.from; i < index; ++i) before += keys[i] == edge.key;
  return before < edge.quota;
}

// A sample of some keys, then a look at others by `find_between`, in chunks of random order. Has the guess found the edge?
template <class Key>
bool guess(const std::vector<Key>& sampled, const std::vector<Key>& keys, std::int64_t rank, std::int64_t most_keys,
           RankEdge& edge) {
  const auto total = static_cast<std::int64_t>(keys.size());
  BracketSearch search(total, most_keys);
  const Sample sample = Sample::of(total, most_keys);
  std::int64_t met = 0;
  for (std::int64_t first = 0; first < total; first += sample.stride) {
    const std::int64_t end = std::min(first + Sample::piece, total);
    search.add_sample({sampled.begin() + first, sampled.begin() + end});
    met += end - first;
  }
  CHECK(met == sample.count(total), "%ld elements in the sample, said were %ld", long(met), long(sample.count(total)));
  if (!search.choose(rank)) return false;
  std::vector<std::int64_t> starts;
  for (std::int64_t first = 0; first < total; first += kSelectBlock) starts.push_back(first);
  std::shuffle(starts.begin(), starts.end(), random_bits);
  for (const std::int64_t first : starts) {
    const int count = static_cast<int>(std::min<std::int64_t>(kSelectBlock, total - first));
    std::uint64_t found[kSelectBlock];
    BracketCounts counts;
    const int n = find_between(keys.data() + first, count, search.bracket(), counts, found);
    search.add(counts, {found, found + n}, first);
  }
  return search.settle(rank, edge);
}

}  // namespace

CASE(draws_are_philoxs_published_ones) {
  const std::uint32_t published[] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  for (const Isa isa : isas()) {
    use_isa(isa);
    std::uint32_t room[philox_room(4)];
    const std::uint32_t* words = draw_words({0, 0}, 0, 4, room);
    for (int w = 0; w < 4; ++w) CHECK(words[w] == published[w], "word %d is %08x", w, words[w]);
  }
}

CASE(draws_depend_on_the_index_alone) {
  const PhiloxKey key{0x12345678u, 0x9abcdef0u};
  const std::int64_t origin = (std::int64_t{1} << 34) - 300;  // the counter's second word changes here
  std::uint32_t all[philox_room(700)];
  use_isa(Isa::baseline);
  const std::uint32_t* want = draw_words(key, origin, 700, all);
  for (const Isa isa : isas()) {
    use_isa(isa);
    for (int first = 0; first < 600; first += 7) {
      const int count = 1 + first % 97;
      std::vector<std::uint32_t> room(philox_room(count));
      const std::uint32_t* words = draw_words(key, origin + first, count, room.data());
      for (int i = 0; i < count; ++i) CHECK(words[i] == want[first + i], "element %d of run %d", i, first);
    }
  }
}

CASE(ranks_in_rows_are_those_of_a_stable_sort) {
  for (const std::int64_t columns : {1, 2, 7, 255, 256, 2047, 2048, 5001}) {
    for (int kind = 0; kind < 5; ++kind) {
      check_row_ranks<std::uint32_t>(columns, kind);
      check_row_ranks<std::uint64_t>(columns, kind);
    }
  }
}

CASE(a_search_selects_the_largest_and_of_equals_the_first) {
  for (int round = 0; round < 60; ++round) {
    const std::vector<std::uint64_t> keys = make_keys<std::uint64_t>(400, round % 3);
    const auto rank = static_cast<std::int64_t>(random_bits() % 401);
    RankSearch rank_search(400, 63, 5 + round % 12, round % 4 * 137);  // none, some, or all are gathered
    rank_search.set_rank(rank);
    search(rank_search, keys, 1 + static_cast<std::int64_t>(random_bits() % 90));
    const std::vector<std::int64_t> order = order_of(keys);
    for (std::int64_t place = 0; place < 400; ++place)
      CHECK(is_selected(keys, rank_search.edge(), order[place]) == (place < rank), "rank %ld place %ld", long(rank),
            long(place));
  }
}

CASE(a_search_for_a_key_finds_the_key_of_that_rank) {
  for (int round = 0; round < 30; ++round) {
    const std::vector<std::uint64_t> keys = make_keys<std::uint64_t>(100, round % 3);
    const auto rank = 1 + static_cast<std::int64_t>(random_bits() % 100);
    RankSearch rank_search(100, 63, 16, round % 3 * 50, RankGoal::key);
    rank_search.set_rank(rank);
    search(rank_search, keys, 33);
    CHECK(rank_search.edge().key == keys[order_of(keys)[rank - 1]], "rank %ld", long(rank));
  }
}

CASE(equal_keys_are_cut_without_another_look_where_their_low_bits_are_zero) {
  std::vector<std::uint32_t> keys(1000, 0x3f800000u);
  keys[10] = keys[700] = 0x3f800001u;  // in the same bin of the first look
  keys[20] = 0x3f000000u;
  RankSearch rank_search(1000, 31, 16, 0);
  rank_search.set_rank(500);
  CHECK(search(rank_search, keys, 64) == 2, "one look at the high bits, one at the low ones");
  std::int64_t selected = 0;
  for (std::int64_t i = 0; i < 1000; ++i) selected += is_selected(keys, rank_search.edge(), i);
  CHECK(selected == 500, "%ld", long(selected));
  CHECK(is_selected(keys, rank_search.edge(), 499) && !is_selected(keys, rank_search.edge(), 500), "the first ones are in");
  CHECK(is_selected(keys, rank_search.edge(), 700), "a larger one is in wherever it lies");
}

CASE(few_keys_are_gathered_in_place_of_more_looks) {
  std::vector<std::uint64_t> keys = make_keys<std::uint64_t>(5000, 1);
  for (std::size_t i = 0; i < 300; ++i) keys[10 * i] = (std::uint64_t{3} << 60) + random_bits() % 1000;
  const std::int64_t above =
      std::count_if(keys.begin(), keys.end(), [](std::uint64_t key) { return key >= (std::uint64_t{3} << 60) + 1000; });
  const struct {
    std::int64_t most_keys;
    int looks;
  } cases[] = {{0, 4}, {200, 4}, {400, 2}, {5000, 1}};
  for (const auto& [most_keys, looks] : cases) {
    RankSearch rank_search(5000, 63, 16, most_keys);
    rank_search.set_rank(above + 150);
    const int needed = search(rank_search, keys, 700);
    CHECK(needed == looks, "%ld keys: %d looks", long(most_keys), needed);
    std::int64_t selected = 0;
    for (std::int64_t i = 0; i < 5000; ++i) selected += is_selected(keys, rank_search.edge(), i);
    CHECK(selected == above + 150, "%ld keys: %ld", long(most_keys), long(selected));
  }
}

CASE(keys_around_a_bracket_are_counted_and_those_inside_are_found) {
  for (const Isa isa : isas()) {
    use_isa(isa);
    for (int round = 0; round < 200; ++round) {
      const int count = 1 + static_cast<int>(random_bits() % kSelectBlock);
      const std::vector<std::uint32_t> keys = make_keys<std::uint32_t>(count, round % 5);
      const std::uint64_t one = keys[random_bits() % count], other = round % 7 ? keys[random_bits() % count] : UINT64_MAX;
      const Bracket bracket{round % 11 ? std::min(one, other) : 0, std::max(one, other)};
      BracketCounts want, got;
      std::vector<std::uint64_t> between;
      for (const std::uint64_t key : keys) {
        want.above += key > bracket.high;
        want.at_high += key == bracket.high;
        want.at_low += key == bracket.low && bracket.low != bracket.high;
        want.zeros += key == 0;
        if (bracket.low < key && key < bracket.high) between.push_back(key);
      }
      std::uint64_t found[kSelectBlock];
      const int n = find_between(keys.data(), count, bracket, got, found);
      std::sort(found, found + n);
      std::sort(between.begin(), between.end());
      CHECK((std::vector<std::uint64_t>(found, found + n) == between), "round %d: %d found", round, n);
      CHECK(got.above == want.above && got.at_high == want.at_high && got.at_low == want.at_low && got.zeros == want.zeros,
            "round %d", round);
    }
  }
}

CASE(a_guess_is_right_or_known_to_be_wrong) {
  int right = 0;
  for (int round = 0; round < 200; ++round) {
    const std::int64_t total = 1 + static_cast<std::int64_t>(random_bits() % 40000);
    const std::vector<std::uint64_t> keys = make_keys<std::uint64_t>(total, round % 5);
    // Every third sample is of something else.
    const std::vector<std::uint64_t> sampled = round % 3 ? keys : make_keys<std::uint64_t>(total, (round + 1) % 5);
    const auto rank = 1 + static_cast<std::int64_t>(random_bits() % total);
    RankEdge edge{};
    if (!guess(sampled, keys, rank, round % 4 ? 1 << 20 : 3000, edge)) continue;
    ++right;
    const std::vector<std::int64_t> order = order_of(keys);
    for (std::int64_t place = std::max<std::int64_t>(0, rank - 50); place < std::min(total, rank + 50); ++place)
      CHECK(is_selected(keys, edge, order[place]) == (place < rank), "round %d rank %ld place %ld", round, long(rank),
            long(place));
  }
  CHECK(right > 100, "only %d guesses were right", right);
}

CASE(a_guess_from_a_fair_sample_is_right) {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::uint32_t> keys = make_keys<std::uint32_t>(300000, round % 5);
    // Rows that are not alike.
    for (std::size_t i = 0; i < keys.size(); ++i) keys[i] >>= i / 2048 % 3;
    const auto rank = static_cast<std::int64_t>(1 + random_bits() % keys.size());
    RankEdge edge{};
    CHECK(guess(keys, keys, rank, 1 << 20, edge), "round %d rank %ld", round, long(rank));
    CHECK(std::count_if(keys.begin(), keys.end(), [&](auto key) { return key > edge.key; }) < rank, "round %d", round);
    CHECK(std::count_if(keys.begin(), keys.end(), [&](auto key) { return key >= edge.key; }) >= rank, "round %d", round);
  }
}

CASE(an_ordered_sum_has_one_value_however_it_is_cut) {
  const std::int64_t total = 3 * kSegment + 1234;
  std::vector<double> terms(total);
  for (double& term : terms) term = static_cast<double>(static_cast<std::int64_t>(random_bits())) / 3;
  double want = 0;
  for (std::int64_t begin = 0; begin < total; begin += kSegment) {
    double lanes[kLanes] = {};
    for (std::int64_t i = begin; i < std::min(total, begin + kSegment); ++i) lanes[i % kLanes] += terms[i];
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    want += lanes[0];
  }
  for (const Isa isa : isas()) {
    use_isa(isa);
    for (const std::int64_t chunk : {total, std::int64_t{512}, std::int64_t{1000}, 2 * kSegment}) {
      OrderedSum sum(total);
      for (std::int64_t first = 0; first < total; first += chunk) {
        OrderedSum::Cursor cursor(sum, first);
        const std::int64_t end = std::min(total, first + chunk);
        for (std::int64_t start = first; start < end; start += 333)
          cursor.add(terms.data() + start, static_cast<int>(std::min<std::int64_t>(333, end - start)));
        cursor.finish();
      }
      CHECK(sum.value() == want, "chunk %ld: %a, wanted %a", long(chunk), sum.value(), want);
    }
  }
}
