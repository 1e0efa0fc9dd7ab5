// Tests of the loss "slimmable".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

constexpr int kWidths = 3;

std::unique_ptr<kd::Loss> make_slimmable(const std::string& parameters = "", int widths = kWidths) {
  kd::load_plugins();
  kd::Loss::Context context{.classes = kClasses, .samples = kRows};
  for (int i = 1; i <= widths; ++i) context.student["width" + std::to_string(i)] = {kClasses};
  return kd::make<kd::Loss>("{ type = 'slimmable'" + parameters + " }", context);
}

constexpr const char* kOfWidest = ", narrow_learn_from = 'widest', temperature = 2.5";

std::vector<at::Tensor> all_widths() {
  std::vector<at::Tensor> widths;
  for (int i = 1; i <= kWidths; ++i)
    widths.push_back(kd::testing::normal({kRows, kClasses}, 20 + i).to(at::kDouble) * 2);
  return widths;
}

/// The network's own answer is another one, which must not matter.
at::Tensor value_of(kd::Loss& loss, const std::vector<at::Tensor>& widths, const kd::Targets& targets) {
  kd::Outputs outputs{.logits = student(), .taps = kd::Taps(loss.needs().student_taps)};
  for (std::size_t i = 0; i < widths.size(); ++i) outputs.taps.offer("width" + std::to_string(i + 1), widths[i]);
  kd::Batch batch;
  batch.targets = targets;
  return loss({.student = outputs, .batch = batch, .key = {}});
}

double label_loss(const at::Tensor& logits, const Labels& labels) {
  const Rows p = softmax(logits);
  return mean_of_labelled(
      labels, [&](std::size_t i, std::int64_t label) { return -std::log(p[i][static_cast<std::size_t>(label)]); });
}

TEST(Slimmable, SumsTheLossesOfAllWidths) {
  for (const Labels& labels : {kLabels, kSomeLabels}) {
    double expected = 0;
    for (const at::Tensor& logits : all_widths()) expected += label_loss(logits, labels);
    EXPECT_NEAR(value_of(*make_slimmable(), all_widths(), hard(labels)).item<double>(), expected, 1e-11);
  }
  EXPECT_TRUE(make_slimmable()->labelled_rows_only());
}

TEST(Slimmable, LeavesMixedLabelsMixed) {
  double expected = 0;
  for (const at::Tensor& logits : all_widths()) {
    const Rows p = softmax(logits);
    double sum = 0;
    int count = 0;
    for (std::size_t i = 0; i < kLabels.size(); ++i) {
      if (kPartners[i] < 0) continue;
      ++count;
      sum -= kWeights[i] * std::log(p[i][static_cast<std::size_t>(kLabels[i])]) +
             (1 - kWeights[i]) * std::log(p[i][static_cast<std::size_t>(kPartners[i])]);
    }
    expected += sum / count;
  }
  EXPECT_NEAR(value_of(*make_slimmable(), all_widths(), mixed()).item<double>(), expected, 1e-6);
}

TEST(Slimmable, LetsTheWidestTeach) {
  const std::vector<at::Tensor> widths = all_widths();
  const Rows q = softmax(widths.back(), 2.5);
  double expected = label_loss(widths.back(), kSomeLabels);
  for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
    const Rows p = softmax(widths[i], 2.5);
    expected += 2.5 * 2.5 * mean_of_rows([&](std::size_t row) { return divergence(q[row], p[row]); });
  }
  EXPECT_NEAR(value_of(*make_slimmable(kOfWidest), widths, hard(kSomeLabels)).item<double>(), expected, 1e-11);
  EXPECT_FALSE(make_slimmable(kOfWidest)->labelled_rows_only());
}

TEST(Slimmable, GivesEachWidthItsExactGradient) {
  for (const std::string parameters : {"", kOfWidest}) {
    const auto loss = make_slimmable(parameters);
    const std::size_t taught = parameters.empty() ? kWidths : kWidths - 1;
    for (std::size_t i = 0; i < taught; ++i) {
      const auto f = [&](const at::Tensor& x) {
        std::vector<at::Tensor> widths = all_widths();
        widths[i] = x;
        return value_of(*loss, widths, hard(kSomeLabels));
      };
      EXPECT_LT(kd::testing::gradient_error(f, student()), 1e-7) << parameters << i;
    }
  }
}

TEST(Slimmable, DoesNotTeachTheWidestByTheOthers) {
  std::vector<at::Tensor> widths = all_widths();
  const at::Tensor widest = widths.back().clone().requires_grad_(true);
  widths.back() = widest;
  const at::Tensor of_all =
      torch::autograd::grad({value_of(*make_slimmable(kOfWidest), widths, hard(kLabels))}, {widest})[0];
  const at::Tensor alone =
      torch::autograd::grad({value_of(*make_slimmable("", 1), {widest}, hard(kLabels))}, {widest})[0];
  EXPECT_TRUE(of_all.allclose(alone, 1e-12, 1e-12));
}

TEST(Slimmable, IsZeroWithoutLabels) {
  EXPECT_EQ(value_of(*make_slimmable(), all_widths(), hard(Labels(kRows, -1))).item<double>(), 0);
}

TEST(Slimmable, AsksForEveryWidth) {
  EXPECT_EQ(make_slimmable()->needs().student_taps, kd::TapRequest({"width1", "width2", "width3"}));
  EXPECT_THROW(make_slimmable("", 0), kd::RecipeError);
}

}  // namespace
