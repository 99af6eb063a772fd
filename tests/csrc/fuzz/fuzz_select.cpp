// Runs selecting passes over inputs that are written to between two looks: each ends in a failure by name or writes
// something; inputs that stay as they are never fail for having changed.
#include "changing_problem.h"
#include "driver.h"

using namespace m2m;

namespace {

// Any ranks and probabilities that the checks of a recipe let through.
void vary(ExpertSpec& spec, std::int64_t count, Draws& draws) {
  spec.kept = draws() % (count + 1);
  spec.dropped = draws() % (count - spec.kept + 1);
  spec.low = (1 + draws.pick(99)) / 200.0;
  spec.high = spec.low + draws.pick(100) / 200.0;
  spec.scale = 1 + draws.pick(3);
  spec.keeps_norm = spec.keeps_norm && draws.pick(2);
  spec.to_ends = draws.pick(2);
  spec.single = spec.low;
}

void vary(SelectSpec& spec, std::int64_t count, Draws& draws) {
  for (ExpertSpec& expert : spec.experts) vary(expert, count, draws);
  spec.tie_is_plus = draws.pick(2);
  spec.normalise = draws.pick(2);
  spec.share = spec.combine == Combine::energy ? (1 + draws.pick(100)) / 100.0 : 1;
  for (double& weight : spec.outputs[0].weights) weight = (draws.pick(9) - 4) / 4.0;
}

}  // namespace

const char* m2m::try_once(Draws draws) {
  const TemporaryFolder folder;
  const Kind kind = kKinds[draws.pick(kKinds.size())];
  const Shape shape{1 + draws.pick(12), 1 + draws.pick(400)};
  const bool adapter = draws.pick(3) == 0;
  ChangingProblem problem(folder, kind, shape, static_cast<Dtype>(draws.pick(4)), adapter, draws());
  if (draws.pick(2)) vary(problem.spec, shape.count(), draws);
  // Small tensors may come whole.
  const SelectOptions options{draws.pick(2) == 0, 1 + draws.pick(12), draws.pick(3) || shape.count() > 1000 ? 0 : shape.count(),
                              draws.pick(3) * 300, 0};
  problem.rewrite(kContents[draws.pick(kContents.size())]);
  bool changed = false;
  const auto failed = merge_while(problem, options, [&](int) {
    if (draws.pick(3)) return;
    changed = true;
    problem.rewrite(kContents[draws.pick(kContents.size())], 1 + draws() % shape.count());
  });
  require(changed || failed != FailureKind::changed, "inputs that nothing wrote to are said to have changed");
  return failed == FailureKind::changed ? "noticed" : failed ? "failed" : "succeeded";
}
