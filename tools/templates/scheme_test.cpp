// Tests of the scheme "KD_NAME_HERE", with stand-ins for what the engine gives it.
#include "kd/scheme.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kd/plugin.h"
#include "kd/testing.h"

namespace {

/// Answers zeros for two classes: the cross-entropy is ln 2.
class UndecidedNetwork final : public kd::Network {
 public:
  const std::string& name() const override { return name_; }
  kd::Outputs forward(const at::Tensor& images, const kd::TapRequest& /*taps*/) override {
    return {.logits = at::zeros({images.size(0), 2}, images.options().dtype(at::kFloat)), .taps = {}};
  }
  kd::Outputs answer(const at::Tensor& images, const kd::TapRequest& taps) override { return forward(images, taps); }

 private:
  std::string name_ = "student";
};

class OneNetworkStage final : public kd::StageContext {
 public:
  OneNetworkStage() { data_.class_names = {"no", "yes"}; }

  const std::vector<kd::Network*>& networks() override { return networks_; }
  const std::vector<kd::Teacher*>& teachers() override { return teachers_; }
  const kd::DataInfo& data() const override { return data_; }
  std::int64_t samples() const override { return 4; }
  void train_with(kd::Network& /*network*/, const std::shared_ptr<torch::nn::Module>& /*module*/) override {}
  void require(const kd::LossNeeds& /*needs*/, const kd::Network& /*student*/) override {}

 private:
  UndecidedNetwork network_;
  std::vector<kd::Network*> networks_{&network_};
  std::vector<kd::Teacher*> teachers_;
  kd::DataInfo data_;
};

class RecordingUpdater final : public kd::Updater {
 public:
  void update(kd::Network& network, const std::vector<kd::Term>& terms, const kd::Counted& /*counted*/) override {
    EXPECT_EQ(network.name(), "student");
    updates.push_back(terms);
  }
  kd::ScheduleTime time() const override { return {}; }
  kd::RandomKey key() const override { return {}; }
  kd::RandomKey epoch_key() const override { return {}; }

  std::vector<std::vector<kd::Term>> updates;
};

TEST(KdClassHere, UpdatesOncePerBatchWithTheWeightedLosses) {
  kd::load_plugins();
  for (const at::Device& device : kd::testing::devices()) {
    const auto scheme =
        kd::make<kd::Scheme>("{ type = 'KD_NAME_HERE', losses = [{ type = 'cross_entropy', weight = 0.5 }] }");
    OneNetworkStage stage;
    scheme->setup(stage);
    kd::Batch batch = kd::testing::byte_batch(4, 1, 2, 2, 2);
    batch.images = batch.images.to(device);
    batch.targets.labels = batch.targets.labels.to(device);
    RecordingUpdater updater;
    scheme->step(batch, updater);
    ASSERT_EQ(updater.updates.size(), 1U);
    ASSERT_EQ(updater.updates[0].size(), 1U);
    const kd::Term& term = updater.updates[0][0];
    EXPECT_EQ(term.name, "cross_entropy");
    EXPECT_EQ(term.weight, 0.5);
    EXPECT_NEAR(term.value.item<double>(), std::log(2.0), 1e-6);
  }
}

}  // namespace
