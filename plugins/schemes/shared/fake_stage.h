// What the tests of the schemes share: a stage, its networks and an updater that record what a scheme does with them.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>
#include <torch/nn/module.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kd/plugin.h"
#include "kd/scheme.h"
#include "kd/testing.h"
#include "plugin/registry.h"

namespace fakes {

constexpr std::int64_t kSamples = 6, kClasses = 3;

/// logits = images / 255 · weight.
class LinearClassifier {
 public:
  LinearClassifier(std::uint64_t seed, const at::Device& device)
      : weight(kd::testing::normal({12, kClasses}, seed).to(device).requires_grad_(true)) {}

  at::Tensor logits(const at::Tensor& images) const {
    return at::matmul(images.flatten(1).to(at::kFloat) / 255, weight);
  }
  kd::Outputs answer(const at::Tensor& images, const kd::TapRequest& taps) const {
    kd::Outputs outputs{.logits = logits(images), .taps = kd::Taps(taps)};
    for (const std::string& tap : taps) outputs.taps.offer(tap, outputs.logits);
    return outputs;
  }

  const at::Tensor weight;
};

class Network final : public kd::Network {
 public:
  explicit Network(const at::Device& device) : classifier(1, device) {}

  const std::string& name() const override { return name_; }
  kd::Outputs forward(const at::Tensor& images, const kd::TapRequest& taps) override {
    seen_images.push_back(images);
    return classifier.answer(images, taps);
  }
  kd::Outputs answer(const at::Tensor& images, const kd::TapRequest& taps) override {
    kd::Outputs outputs = classifier.answer(images, taps);
    outputs.logits = outputs.logits.detach();
    ++answers;
    return outputs;
  }

  const LinearClassifier classifier;
  int answers = 0;
  std::vector<at::Tensor> seen_images;

 private:
  const std::string name_ = "student";
};

/// Its outputs do carry a gradient, so that a test finds out where one would flow.
class Teacher final : public kd::Teacher {
 public:
  explicit Teacher(const at::Device& device) : classifier(2, device) {}

  const std::string& name() const override { return name_; }
  double weight() const override { return 1; }
  kd::Outputs outputs(const kd::Batch& batch, const kd::TapRequest& taps) override {
    seen_batches.push_back(&batch);
    return classifier.answer(batch.images, taps);
  }
  kd::Outputs forward(const at::Tensor& images, const kd::TapRequest& taps) override {
    ++forward_passes;
    return classifier.answer(images, taps);
  }

  const LinearClassifier classifier;
  std::vector<const kd::Batch*> seen_batches;
  int forward_passes = 0;

 private:
  const std::string name_ = "teacher";
};

class Updater final : public kd::Updater {
 public:
  void update(kd::Network& network, const std::vector<kd::Term>& terms) override {
    updates.emplace_back(&network, terms);
  }
  kd::ScheduleTime time() const override { return now; }
  kd::RandomKey key() const override { return kd::RandomKey{}.with(static_cast<std::uint64_t>(now.step)); }

  kd::ScheduleTime now{.step = 0, .steps_per_epoch = 10, .epochs = 2};
  std::vector<std::pair<kd::Network*, std::vector<kd::Term>>> updates;
};

/// A stage with one network and a teacher, and a scheme set up in it.
class Stage final : public kd::StageContext {
 public:
  explicit Stage(const std::string& scheme_toml, const at::Device& device = at::kCPU);

  const std::vector<kd::Network*>& networks() override { return networks_; }
  const std::vector<kd::Teacher*>& teachers() override { return teachers_; }
  const kd::DataInfo& data() const override { return data_; }
  std::int64_t samples() const override { return kSamples; }
  void train_with(kd::Network& trained, const std::shared_ptr<torch::nn::Module>& module) override {
    adapters.emplace_back(&trained, module);
  }
  void require(const kd::LossNeeds& needs, const kd::Network& of) override { required.emplace_back(&of, needs); }

  /// One step at `step` updates; its terms.
  std::vector<kd::Term> step(std::int64_t step = 0) {
    updater.now.step = step;
    scheme_->step(batch, updater);
    return updater.updates.back().second;
  }

  Network network;
  Teacher teacher;
  Updater updater;
  kd::Batch batch;
  std::vector<std::pair<kd::Network*, std::shared_ptr<torch::nn::Module>>> adapters;
  std::vector<std::pair<const kd::Network*, kd::LossNeeds>> required;

 private:
  std::vector<kd::Network*> networks_{&network};
  std::vector<kd::Teacher*> teachers_{&teacher};
  kd::DataInfo data_{
      .channels = 3, .height = 2, .width = 2, .class_names = {"a", "b", "c"}, .mean = {}, .deviation = {}};
  std::unique_ptr<kd::Scheme> scheme_;
};

/// What a loss was given.
struct Seen {
  at::Tensor student_logits, student_tap;
  at::Tensor teacher_logits, teacher_tap;  ///< undefined where there was no teacher
  at::Tensor labels, index;
  std::int64_t step = 0;
};

/// A loss with needs and an adapter, that records what it is given.
class Recorder final : public kd::Loss {
 public:
  using Params = kd::NoParameters;

  explicit Recorder(const Params&, const Context& given) { context = given; }

  kd::LossNeeds needs() const override {
    return {.teacher = false, .student_taps = {"stage1"}, .teacher_taps = {"stage2"}};
  }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_; }
  at::Tensor operator()(const kd::LossInput& input) override {
    seen = {.student_logits = input.student.logits,
            .student_tap = input.student.taps.at("stage1"),
            .teacher_logits = input.teacher != nullptr ? input.teacher->logits : at::Tensor(),
            .teacher_tap = input.teacher != nullptr ? input.teacher->taps.at("stage2") : at::Tensor(),
            .labels = input.targets.labels,
            .index = input.index,
            .step = input.time.step};
    return input.student.logits.sum();
  }

  inline static Seen seen;
  inline static Context context;

 private:
  const std::shared_ptr<torch::nn::Module> adapter_ = std::make_shared<torch::nn::Module>("adapter");
};

}  // namespace fakes

KD_REGISTER(kd::Loss, "recorder", fakes::Recorder, "records what it is given")

namespace fakes {

/// Makes the losses of this program known beside those of the plugins.
inline void load_components() {
  [[maybe_unused]] static const bool once = [] {
    kd::load_plugins();
    kd::registry().add(kd::detail::first_entry, "this test");
    return true;
  }();
}

inline Stage::Stage(const std::string& scheme_toml, const at::Device& device)
    : network(device), teacher(device), batch(kd::testing::byte_batch(kSamples, 3, 2, 2, kClasses)) {
  load_components();
  batch.images = batch.images.to(device);
  batch.targets.labels = batch.targets.labels.to(device);
  batch.index = batch.index.to(device);
  scheme_ = kd::make<kd::Scheme>(scheme_toml);
  scheme_->setup(*this);
}

using Names = std::vector<std::string>;
using Rows = std::vector<std::vector<double>>;

inline Names names(const std::vector<kd::Term>& terms) {
  Names result;
  for (const kd::Term& term : terms) result.push_back(term.name);
  return result;
}

inline std::vector<double> weights(const std::vector<kd::Term>& terms) {
  std::vector<double> result;
  for (const kd::Term& term : terms) result.push_back(term.weight);
  return result;
}

inline Rows rows(const at::Tensor& matrix) {
  const at::Tensor flat = matrix.detach().to(at::kCPU, at::kDouble).contiguous();
  Rows result;
  for (std::int64_t i = 0; i < flat.size(0); ++i) {
    const double* row = flat.const_data_ptr<double>() + i * flat.size(1);
    result.emplace_back(row, row + flat.size(1));
  }
  return result;
}

/// exp(z/T) / Σ exp(z/T), from the definition.
inline Rows probabilities(const at::Tensor& logits, double temperature) {
  Rows result = rows(logits);
  for (std::vector<double>& row : result) {
    double sum = 0;
    for (double& z : row) sum += z = std::exp(z / temperature);
    for (double& p : row) p /= sum;
  }
  return result;
}

/// Mean of −ln p(label), where sample i has label i mod classes.
inline double cross_entropy(const at::Tensor& logits) {
  const Rows p = probabilities(logits, 1);
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum -= std::log(p[i][i % p[i].size()]);
  return sum / static_cast<double>(p.size());
}

}  // namespace fakes
