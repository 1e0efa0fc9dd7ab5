// Tests that mistakes of who writes a loss are found before training, and say which loss it is.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "engine_fixture.h"
#include "kd/adapters.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

struct NoParams {
  static void schema(kd::Schema<NoParams>&) {}
};

class CarelessLoss : public kd::Loss {
 public:
  using Params = NoParams;
  explicit CarelessLoss(const Params&) {}
  kd::LossNeeds needs() const override { return {.teacher = true, .student_taps = {"pooled"}}; }
};

class AdapterWithoutModule final : public CarelessLoss {
 public:
  explicit AdapterWithoutModule(const Params& params) : CarelessLoss(params) { layers_.linear(8, 32); }
  at::Tensor operator()(const kd::LossInput& input) override {
    return layers_(input.student.taps.at("pooled")).square().mean();
  }

 private:
  kd::AdapterModule adapter_;
  kd::Layers layers_ = adapter_.layers("to_teacher");
};

class FeatureNotAskedFor final : public CarelessLoss {
 public:
  using CarelessLoss::CarelessLoss;
  at::Tensor operator()(const kd::LossInput& input) override {
    return (input.student.taps.at("pooled") - input.teacher().taps.at("pooled")).square().mean();
  }
};

class WidthsThatDiffer final : public CarelessLoss {
 public:
  using CarelessLoss::CarelessLoss;
  kd::LossNeeds needs() const override {
    return {.teacher = true, .student_taps = {"pooled"}, .teacher_taps = {"pooled"}};
  }
  at::Tensor operator()(const kd::LossInput& input) override {
    return (input.student.taps.at("pooled") - input.teacher().taps.at("pooled")).square().mean();
  }
};

class Detached final : public CarelessLoss {
 public:
  using CarelessLoss::CarelessLoss;
  at::Tensor operator()(const kd::LossInput& input) override {
    return input.student.taps.at("pooled").detach().square().mean();
  }
};

KD_REGISTER(kd::Loss, "adapter_without_module", AdapterWithoutModule, "forgets module()")
KD_REGISTER(kd::Loss, "feature_not_asked_for", FeatureNotAskedFor, "reads more than needs() names")
KD_REGISTER(kd::Loss, "widths_that_differ", WidthsThatDiffer, "subtracts features of other shapes")
KD_REGISTER(kd::Loss, "detached", Detached, "cuts its gradient off")

class CarelessLossesTest : public engine_tests::EngineTest {
 protected:
  /// What is said before training of a student with `loss` beside the labels.
  std::string refusal(const std::string& loss) {
    try {
      run({"stage.student.scheme.losses=[{ type = \"cross_entropy\" }, { type = \"" + loss + "\" }]"});
    } catch (const kd::Error& error) {
      EXPECT_FALSE(std::filesystem::exists(folder_ / "runs")) << loss;
      return error.what();
    }
    return "";
  }
};

INSTANTIATE_TEST_SUITE_P(Devices, CarelessLossesTest, ::testing::ValuesIn(engine_tests::device_names()),
                         [](const auto& item) { return item.param; });

TEST_P(CarelessLossesTest, AreFoundBeforeTraining) {
  const std::vector<std::pair<std::string, std::string>> expected{
      {"adapter_without_module", "loss 'adapter_without_module' makes an adapter that nothing would train or keep"},
      {"feature_not_asked_for", "loss 'feature_not_asked_for': the feature 'pooled' was not asked for"},
      {"widths_that_differ", "loss 'widths_that_differ': The size of tensor a (8) must match"},
      {"detached", "the loss 'detached' of network 'model' has no gradient"}};
  for (const auto& [loss, text] : expected) {
    const std::string said = refusal(loss);
    EXPECT_NE(said.find(text), std::string::npos) << loss << ": " << said;
  }
}

}  // namespace
