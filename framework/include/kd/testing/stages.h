// What the tests of the schemes share: a stage, its networks and an updater that record what a scheme does with them.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/module.h>

#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kd/plugin.h"
#include "kd/scheme.h"
#include "kd/testing/basics.h"

namespace kd::testing::fakes {

constexpr std::int64_t kSamples = 6, kClasses = 3;

/// logits = images / 255 · weight.
class LinearClassifier {
 public:
  LinearClassifier(std::uint64_t seed, const at::Device& device)
      : weight(kd::testing::normal({12, kClasses}, seed).to(device).requires_grad_(true)) {}

  at::Tensor logits(const at::Tensor& images) const {
    return at::matmul(images.flatten(1).to(at::kFloat) / 255, weight);
  }
  kd::Outputs answer(const at::Tensor& images, const kd::TapRequest& taps, kd::Head* network) const {
    kd::Outputs outputs{.logits = logits(images), .taps = kd::Taps(taps), .network = network};
    const bool whole = tap_width == kClasses;
    const at::Tensor feature = whole ? outputs.logits : outputs.logits.narrow(1, 0, tap_width);
    for (const std::string& tap : taps) outputs.taps.offer(tap, feature);
    return outputs;
  }

  const at::Tensor weight;
  std::int64_t tap_width = kClasses;  ///< every tap is the first of the logits
};

/// What happens in a stage, in order: "forward a", "answer a", "update a".
using Events = std::vector<std::string>;

class Network final : public kd::Network {
 public:
  Network(std::string name, std::uint64_t seed, const at::Device& device, Events& events)
      : classifier(seed, device), name_(std::move(name)), events_(events) {}

  const std::string& name() const override { return name_; }
  kd::Outputs forward(const at::Tensor& images, const kd::TapRequest& taps) override {
    events_.push_back((at::GradMode::is_enabled() ? "forward " : "forward without gradient ") + name_);
    seen_images.push_back(images);
    return classifier.answer(images, taps, this);
  }
  kd::Outputs answer(const at::Tensor& images, const kd::TapRequest& taps) override {
    const at::NoGradGuard no_gradient;
    events_.push_back("answer " + name_);
    return classifier.answer(images, taps, this);
  }

  at::Tensor head(const at::Tensor& feature, const std::string& /*tap*/) override { return feature; }

  LinearClassifier classifier;
  std::vector<at::Tensor> seen_images;

 private:
  const std::string name_;
  Events& events_;
};

/// Its outputs do carry a gradient, so that a test finds out where one would flow.
class Teacher final : public kd::Teacher {
 public:
  Teacher(std::uint64_t seed, double weight, const at::Device& device) : classifier(seed, device), weight_(weight) {}

  const std::string& name() const override { return name_; }
  double weight() const override { return weight_; }
  kd::Outputs outputs(const kd::Batch& batch, const kd::TapRequest& taps) override {
    seen_batches.push_back(&batch);
    return classifier.answer(batch.images, taps, this);
  }
  kd::Outputs forward(const at::Tensor& images, const kd::TapRequest& taps, kd::Gradient /*gradient*/) override {
    ++forward_passes;
    forward_images = images;
    return classifier.answer(images, taps, this);
  }
  at::Tensor head(const at::Tensor& feature, const std::string& /*tap*/) override { return feature; }

  const LinearClassifier classifier;
  std::vector<const kd::Batch*> seen_batches;  ///< of outputs()
  int forward_passes = 0;
  at::Tensor forward_images;  ///< of the last forward()

 private:
  const std::string name_ = "teacher";
  const double weight_;
};

/// Σ weight · value.
inline at::Tensor objective(const std::vector<kd::Term>& terms) {
  at::Tensor sum;
  for (const kd::Term& term : terms) {
    const at::Tensor weighted = term.value * term.weight;
    sum = sum.defined() ? sum + weighted : weighted;
  }
  return sum;
}

/// The gradient of the objective by the weights of `network`, in double precision on the CPU.
inline at::Tensor gradient(const std::vector<kd::Term>& terms, const Network& network) {
  const auto gradients =
      torch::autograd::grad({objective(terms)}, {network.classifier.weight}, {}, /*retain_graph=*/true);
  return gradients[0].to(at::kCPU, at::kDouble);
}

class Updater final : public kd::Updater {
 public:
  explicit Updater(Events& events) : events_(events) {}

  void update(kd::Network& network, const std::vector<kd::Term>& terms, const kd::Counted& counted) override {
    events_.push_back("update " + network.name());
    updates.emplace_back(&network, terms);
    counted_logits.push_back(counted.logits.detach());
    counted_targets.push_back(counted.targets);
    if (learning_rate == 0) return;
    auto& trained = dynamic_cast<Network&>(network);
    // As optimizers do, past the version counter of autograd.
    at::Tensor weight = trained.classifier.weight.data();
    weight.sub_(gradient(terms, trained).to(weight.options()), learning_rate);
  }
  kd::ScheduleTime time() const override { return now; }
  kd::RandomKey key() const override { return kd::RandomKey{}.with(static_cast<std::uint64_t>(now.step)); }
  kd::RandomKey epoch_key() const override {
    return kd::RandomKey{}.with(static_cast<std::uint64_t>(now.whole_epoch()));
  }

  kd::ScheduleTime now{.step = 0, .steps_per_epoch = 10, .epochs = 2};
  double learning_rate = 0;
  std::vector<std::pair<kd::Network*, std::vector<kd::Term>>> updates;
  std::vector<at::Tensor> counted_logits;  ///< of each update
  std::vector<kd::Targets> counted_targets;

 private:
  Events& events_;
};

/// Who takes part in a stage.
struct Cast {
  int networks = 1;
  std::vector<double> teacher_weights = {1};
  kd::Group* processes = nullptr;  ///< one for each network, where the scheme spreads them
};

/// A stage with networks "a", "b", … and teachers, and a scheme set up in it.
class Stage final : public kd::StageContext {
 public:
  explicit Stage(const std::string& scheme_toml, const at::Device& device = at::kCPU, const Cast& cast = {});
  Stage(const Stage&) = delete;  // its parts know each other

  const std::vector<kd::Network*>& networks() override { return network_list_; }
  const std::vector<kd::Teacher*>& teachers() override { return teacher_list_; }
  const kd::DataInfo& data() const override { return data_; }
  std::int64_t samples() const override { return kSamples; }
  kd::RandomKey key() const override { return kd::RandomKey{}.with("stage"); }
  kd::Group* spread() override { return processes_; }
  /// Every tap of every network has the same shape.
  const kd::TapShapes& shapes(const kd::Head& /*network*/) const override { return shapes_; }
  void train_with(kd::Network& trained, const kd::NamedModule& adapter) override {
    adapters.emplace_back(&trained, adapter);
  }
  void require(const kd::LossNeeds& needs, const kd::Network& of) override { required.emplace_back(&of, needs); }

  /// One step at `step` updates; the terms of its last update.
  std::vector<kd::Term> step(std::int64_t step = 0) {
    updater.now.step = step;
    scheme_->step(batch, updater);
    return updater.updates.back().second;
  }

  Events events;
  std::deque<Network> all_networks;
  std::deque<Teacher> all_teachers;
  Network& network;  ///< the first
  Teacher& teacher;  ///< the first; not in the stage where the cast has none
  Updater updater{events};
  kd::Batch batch;
  std::vector<std::pair<kd::Network*, kd::NamedModule>> adapters;
  std::vector<std::pair<const kd::Network*, kd::LossNeeds>> required;

 private:
  std::vector<kd::Network*> network_list_;
  std::vector<kd::Teacher*> teacher_list_;
  kd::DataInfo data_{
      .channels = 3, .height = 2, .width = 2, .class_names = {"a", "b", "c"}, .mean = {}, .deviation = {}};
  const kd::TapShapes shapes_{{"stage1", {kClasses}}, {"stage2", {kClasses}}, {"pooled", {kClasses}}};
  kd::Group* const processes_;
  std::unique_ptr<kd::Scheme> scheme_;
};

/// What a loss was given.
struct Seen {
  at::Tensor student_logits, student_tap;
  at::Tensor teacher_logits, teacher_tap;
  at::Tensor labels, partner, weight, index;
  std::int64_t step = 0;
};

/// A loss with needs and an adapter, that records what it is given.
class Recorder final : public kd::Loss {
 public:
  struct Params {
    bool teacher = true;

    static void schema(kd::Schema<Params>& s) {
      s.field("teacher", &Params::teacher, "whether it wants a teacher's feature").def(true);
    }
  };

  explicit Recorder(const Params& params, const Context& given) : params_(params) { context = given; }

  kd::LossNeeds needs() const override {
    return {.student_taps = {"stage1"}, .teacher_taps = params_.teacher ? kd::TapRequest{"stage2"} : kd::TapRequest{}};
  }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_; }
  at::Tensor operator()(const kd::LossInput& input) override {
    seen = {.student_logits = input.student.logits,
            .student_tap = input.student.taps.at("stage1"),
            .teacher_logits = params_.teacher ? input.teacher().logits : at::Tensor(),
            .teacher_tap = params_.teacher ? input.teacher().taps.at("stage2") : at::Tensor(),
            .labels = input.batch.targets.labels,
            .partner = input.batch.targets.partner,
            .weight = input.batch.targets.weight,
            .index = input.batch.index,
            .step = input.time.step};
    return input.student.logits.sum();
  }

  inline static Seen seen;
  inline static Context context;

 private:
  const Params params_;
  const std::shared_ptr<torch::nn::Module> adapter_ = std::make_shared<torch::nn::Module>("adapter");
};

}  // namespace kd::testing::fakes

KD_REGISTER(kd::Loss, "recorder", kd::testing::fakes::Recorder, "records what it is given")

namespace kd::testing::fakes {

/// Makes the losses of this program known beside those of the plugins.
inline void load_components() {
  [[maybe_unused]] static const bool once = [] {
    kd::load_plugins();
    kd::add_own_components();
    return true;
  }();
}

inline std::deque<Network> make_networks(int count, const at::Device& device, Events& events) {
  std::deque<Network> networks;
  for (int i = 0; i < count; ++i) {
    networks.emplace_back(std::string(1, static_cast<char>('a' + i)), 10 * i + 1, device, events);
  }
  return networks;
}

inline std::deque<Teacher> make_teachers(const std::vector<double>& weights, const at::Device& device) {
  std::deque<Teacher> teachers;
  for (const double weight : weights) teachers.emplace_back(10 * teachers.size() + 2, weight, device);
  if (teachers.empty()) teachers.emplace_back(2, 1, device);
  return teachers;
}

inline Stage::Stage(const std::string& scheme_toml, const at::Device& device, const Cast& cast)
    : all_networks(make_networks(cast.networks, device, events)),
      all_teachers(make_teachers(cast.teacher_weights, device)),
      network(all_networks.front()),
      teacher(all_teachers.front()),
      batch(kd::testing::byte_batch(kSamples, 3, 2, 2, kClasses)),
      processes_(cast.processes) {
  load_components();
  for (Network& member : all_networks) network_list_.push_back(&member);
  for (Teacher& member : all_teachers) {
    if (!cast.teacher_weights.empty()) teacher_list_.push_back(&member);
  }
  batch.images = batch.images.to(device);
  batch.targets.labels = batch.targets.labels.to(device);
  batch.index = batch.index.to(device);
  scheme_ = kd::make<kd::Scheme>(scheme_toml);
  scheme_->setup(*this);
}

using Names = std::vector<std::string>;
using kd::testing::rows;
using kd::testing::Rows;

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

/// Mean over the rows of Σ q ln(q/p).
inline double divergence(const Rows& q, const Rows& p) {
  double sum = 0;
  for (std::size_t i = 0; i < q.size(); ++i) {
    for (std::size_t c = 0; c < q[i].size(); ++c) sum += q[i][c] * std::log(q[i][c] / p[i][c]);
  }
  return sum / static_cast<double>(q.size());
}

/// −ln p(label) of each row, where sample i has label i mod classes.
inline std::vector<double> label_losses(const Rows& p) {
  std::vector<double> losses;
  for (std::size_t i = 0; i < p.size(); ++i) losses.push_back(-std::log(p[i][i % p[i].size()]));
  return losses;
}

/// Mean of −ln p(label), where sample i has label i mod classes.
inline double cross_entropy(const at::Tensor& logits) {
  const std::vector<double> losses = label_losses(probabilities(logits, 1));
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
}

/// The gradient by a classifier's weights of what has the gradient `by_logits`, in double precision on the CPU.
inline at::Tensor weight_gradient(const at::Tensor& images, const Rows& by_logits) {
  const at::Tensor features = images.cpu().flatten(1).to(at::kDouble) / 255;
  at::Tensor gradient = at::zeros({features.size(1), kClasses}, features.options());
  double* out = gradient.mutable_data_ptr<double>();
  for (std::int64_t f = 0; f < features.size(1); ++f) {
    for (std::size_t i = 0; i < by_logits.size(); ++i) {
      const double feature = features[static_cast<std::int64_t>(i)][f].item<double>();
      for (std::size_t c = 0; c < kClasses; ++c)
        out[f * kClasses + static_cast<std::int64_t>(c)] += feature * by_logits[i][c];
    }
  }
  return gradient;
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace kd::testing::fakes
