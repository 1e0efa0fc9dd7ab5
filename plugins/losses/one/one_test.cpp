// Tests of the loss "one".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

constexpr int kBranches = 3;

std::unique_ptr<kd::Loss> make_one(const std::string& parameters = "", int branches = kBranches) {
  kd::load_plugins();
  kd::Loss::Context context{.classes = kClasses, .samples = kRows};
  for (int b = 1; b <= branches; ++b) context.student["branch" + std::to_string(b)] = {kClasses};
  if (branches > 0) context.student["ensemble"] = {kClasses};
  return kd::make<kd::Loss>("{ type = 'one'" + parameters + " }", context);
}

at::Tensor branch(int b) { return kd::testing::normal({kRows, kClasses}, 10 + b) * 2; }
at::Tensor ensemble() { return kd::testing::normal({kRows, kClasses}, 5) * 2; }

/// The loss of branches and ensemble; the network's own answer is another one, which must not matter.
at::Tensor value_of(kd::Loss& loss, const std::vector<at::Tensor>& branches, const at::Tensor& together,
                    const kd::Targets& targets, const kd::ScheduleTime& time = {}) {
  kd::Outputs outputs{.logits = student(), .taps = kd::Taps(loss.needs().student_taps)};
  for (std::size_t b = 0; b < branches.size(); ++b) outputs.taps.offer("branch" + std::to_string(b + 1), branches[b]);
  outputs.taps.offer("ensemble", together);
  kd::Batch batch;
  batch.targets = targets;
  return loss({.student = outputs, .batch = batch, .time = time, .key = {}});
}

std::vector<at::Tensor> all_branches(at::ScalarType type = at::kFloat) {
  return {branch(1).to(type), branch(2).to(type), branch(3).to(type)};
}

double label_loss(const at::Tensor& logits, const Labels& labels) {
  const Rows p = softmax(logits);
  return mean_of_labelled(
      labels, [&](std::size_t i, std::int64_t label) { return -std::log(p[i][static_cast<std::size_t>(label)]); });
}

double mimicry(const at::Tensor& teacher_logits, const at::Tensor& logits, double t) {
  const Rows q = softmax(teacher_logits, t), p = softmax(logits, t);
  return t * t * mean_of_rows([&](std::size_t i) { return divergence(q[i], p[i]); });
}

double expected(const Labels& labels, double temperature, double weight) {
  double sum = label_loss(ensemble(), labels);
  for (const at::Tensor& logits : all_branches())
    sum += label_loss(logits, labels) + weight * mimicry(ensemble(), logits, temperature);
  return sum;
}

TEST(One, IsTheSumOfItsParts) {
  for (const double t : {1.0, 3.0}) {
    const auto loss = make_one(", distillation = 0.7, temperature = " + std::to_string(t));
    const at::Tensor single = value_of(*loss, all_branches(), ensemble(), hard(kLabels));
    EXPECT_EQ(single.scalar_type(), at::kFloat);
    EXPECT_NEAR(single.item<double>(), expected(kLabels, t, 0.7), 1e-4);
    const at::Tensor precise = value_of(*loss, all_branches(at::kDouble), ensemble().to(at::kDouble), hard(kLabels));
    EXPECT_NEAR(precise.item<double>(), expected(kLabels, t, 0.7), 1e-11);
  }
  EXPECT_NEAR(value_of(*make_one(), all_branches(), ensemble(), hard(kLabels)).item<double>(), expected(kLabels, 3, 1),
              1e-4);
}

TEST(One, DistilsRowsWithoutALabelToo) {
  const double some = value_of(*make_one(), all_branches(), ensemble(), hard(kSomeLabels)).item<double>();
  EXPECT_NEAR(some, expected(kSomeLabels, 3, 1), 1e-4);
  const double none = value_of(*make_one(), all_branches(), ensemble(), hard(Labels(kRows, -1))).item<double>();
  double divergences = 0;
  for (const at::Tensor& logits : all_branches()) divergences += mimicry(ensemble(), logits, 3);
  EXPECT_NEAR(none, divergences, 1e-4);
}

TEST(One, HasTheWeightOfItsSchedule) {
  const auto loss = make_one(", distillation = { type = 'rampup', epochs = 80, each = 'epoch' }");
  EXPECT_FALSE(loss->recordable());
  EXPECT_TRUE(make_one()->recordable());
  for (const std::int64_t epoch : {0, 39, 100}) {
    const double left = 1 - std::min(static_cast<double>(epoch + 1) / 80, 1.0);
    const kd::ScheduleTime time{.step = 10 * epoch + 3, .steps_per_epoch = 10, .epochs = 300};
    EXPECT_NEAR(value_of(*loss, all_branches(), ensemble(), hard(kLabels), time).item<double>(),
                expected(kLabels, 3, std::exp(-5 * left * left)), 1e-4)
        << epoch;
  }
}

TEST(One, GivesEachBranchItsExactGradient) {
  const auto loss = make_one(", distillation = 0.7");
  for (std::size_t b = 0; b < kBranches; ++b) {
    const auto f = [&](const at::Tensor& x) {
      std::vector<at::Tensor> branches = all_branches(at::kDouble);
      branches[b] = x;
      return value_of(*loss, branches, ensemble().to(at::kDouble), hard(kSomeLabels));
    };
    EXPECT_LT(kd::testing::gradient_error(f, branch(1)), 1e-7) << b;
  }
}

TEST(One, TeachesTheEnsembleByLabelsAlone) {
  const at::Tensor together = ensemble().to(at::kDouble).requires_grad_(true);
  const at::Tensor value =
      value_of(*make_one(", distillation = 5"), all_branches(at::kDouble), together, hard(kLabels));
  const at::Tensor gradient = torch::autograd::grad({value}, {together})[0];
  const Rows p = softmax(ensemble()), actual = rows(gradient);
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (std::size_t c = 0; c < p[i].size(); ++c) {
      const double target = static_cast<std::int64_t>(c) == kLabels[i] ? 1 : 0;
      EXPECT_NEAR(actual[i][c], (p[i][c] - target) / kRows, 1e-9);
    }
  }
}

TEST(One, StaysFiniteAtExtremes) {
  for (const double factor : {1e4, 0.0}) {
    std::vector<at::Tensor> branches;
    for (const at::Tensor& logits : all_branches()) branches.push_back((logits * factor).requires_grad_(true));
    const at::Tensor value = value_of(*make_one(), branches, ensemble() * factor, hard(kLabels));
    EXPECT_TRUE(value.isfinite().item<bool>());
    EXPECT_TRUE(torch::autograd::grad({value}, {branches[0]})[0].isfinite().all().item<bool>());
  }
}

TEST(One, AsksForEveryBranch) {
  EXPECT_EQ(make_one("", 2)->needs().student_taps, kd::TapRequest({"branch1", "branch2", "ensemble"}));
  EXPECT_FALSE(make_one()->needs().teacher);
}

TEST(One, RefusesANetworkWithoutBranches) {
  try {
    make_one("", 0);
    FAIL() << "a network without branches was accepted";
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find("the network has no branches"), std::string::npos) << error.what();
  }
}

}  // namespace
