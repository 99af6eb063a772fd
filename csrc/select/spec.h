// What a selecting method does to one tensor, as plain numbers that Python computed from the recipe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/philox.h"

namespace m2m {

// Which elements of a task vector are kept.
enum class Trim : int {
  all,
  none,
  largest,  // ranks [dropped, dropped + kept) by magnitude over the whole tensor
  draw,     // each at random with one probability
  ranked,   // each at random with a probability that falls with its rank in its row
};

// How the trimmed task vectors become one.
enum class Combine : int {
  sum,     // their sum
  elect,   // the sum of those that agree with the sign of the sum
  energy,  // sce: the mean of those that agree, weighted by their energies
  fuse,    // arcee_fusion: the expert where it matters, else the base model
};

struct ExpertSpec {
  Trim trim = Trim::all;
  double scale = 1;              // of kept elements
  bool keeps_norm = false;       // the scale is the ratio of L1 norms, before and after trimming, instead
  std::int64_t dropped = 0;      // largest
  std::int64_t kept = 0;         // largest
  PhiloxKey key{};               // draw, ranked
  std::uint64_t keep_below = 0;  // draw: a word below this keeps its element
  double low = 0;                // ranked: keep probability of the smallest ...
  double high = 0;               // ... and of the largest element
  bool to_ends = false;          // ranked: both ends are reached (mergekit), else the smallest has one step more than `low`
  double single = 0;             // ranked with `to_ends`: keep probability in a row of one element
  bool inverse_scale = false;    // ranked: the scale is one over the keep probability instead
};

// What differs between candidates.
struct OutputSpec {
  std::vector<double> weights;  // [N]
  double divisor = 1;           // of the merged task vector

  bool any_negative() const {
    return std::any_of(weights.begin(), weights.end(), [](double weight) { return weight < 0; });
  }
};

struct SelectSpec {
  Combine combine = Combine::sum;
  bool tie_is_plus = false;         // elect, energy: where the sum is zero + is elected, else nothing is
  bool zeros_vote = false;          // elect, energy: NaN must not be lost
  bool normalise = false;           // elect: divide by the sum of the weights of those that agree
  double factor = 1;                // lambda, of the merged task vector
  double share = 1;                 // energy: of the elements whose variance is not zero, how many are selected
  std::int64_t row = 1;             // ranked, fuse: length of a row
  std::vector<ExpertSpec> experts;  // [N]
  std::vector<OutputSpec> outputs;  // [M]

  bool needs_rows() const { return combine == Combine::fuse || ranks_rows(); }
  bool ranks_rows() const {
    return std::any_of(experts.begin(), experts.end(), [](const ExpertSpec& expert) { return expert.trim == Trim::ranked; });
  }
};

}  // namespace m2m
