// What the tests of losses on features share: features of a student and a teacher of any shapes, and the checks that
// every such loss must pass.
#pragma once

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/testing/autocast.h"
#include "kd/testing/basics.h"

namespace kd::testing::features {

constexpr std::int64_t kClasses = 5, kSamples = 12;

/// Features of a small convolutional network whose stages have `channels` and twice and three times as many; its maps
/// are `size`, `size`, a half and a quarter of it wide.
inline kd::TapShapes network_shapes(std::int64_t channels, std::int64_t size) {
  kd::TapShapes shapes{{"stem", {channels, size, size}}, {"pooled", {3 * channels}}, {"logits", {kClasses}}};
  for (std::int64_t stage = 1; stage <= 3; ++stage) {
    const std::int64_t side = std::max<std::int64_t>(1, size >> (stage - 1));
    for (const std::string end : {"", "_pre"})
      shapes["stage" + std::to_string(stage) + end] = {stage * channels, side, side};
  }
  return shapes;
}

/// What a student and a teacher offer.
struct Shapes {
  kd::TapShapes student, teacher;
};

inline Shapes equal() { return {network_shapes(2, 4), network_shapes(2, 4)}; }
/// A teacher with more channels.
inline Shapes wider() { return {network_shapes(2, 4), network_shapes(3, 4)}; }
/// A teacher with fewer channels and larger maps.
inline Shapes narrower_and_larger() { return {network_shapes(3, 4), network_shapes(2, 8)}; }
/// A teacher with more channels and smaller maps.
inline Shapes wider_and_smaller() { return {network_shapes(2, 8), network_shapes(3, 4)}; }

using FeatureMap = std::map<std::string, at::Tensor>;

/// The last part of a teacher: the mean over a map, and a linear layer of fixed weights.
class LinearHead final : public kd::Head {
 public:
  explicit LinearHead(std::int64_t channels, std::int64_t classes = kClasses)
      : weight_(kd::testing::normal({channels, classes}, 77)) {}

  at::Tensor head(const at::Tensor& feature, const std::string& /*tap*/) override {
    const bool is_map = feature.dim() == 4 && feature.size(2) * feature.size(3) > 1;
    const at::Tensor pooled = is_map ? feature.mean({2, 3}) : feature.flatten(1);
    return at::matmul(pooled, weight_.to(pooled.options()));
  }
  kd::BatchNormAffine batch_norm(const std::string& tap) override {
    const auto count = shapes.at(tap).front();
    return {kd::testing::normal({count}, 78).abs() + 0.1, kd::testing::normal({count}, 79)};
  }

  const at::Tensor& weight() const { return weight_; }  ///< channels×classes

  kd::TapShapes shapes;

 private:
  const at::Tensor weight_;
};

/// What a data set is like.
struct Data {
  std::int64_t classes = kClasses, samples = kSamples;
};

/// A loss with features for it.
class Setting {
 public:
  /// `parameters` as a recipe writes them: "taps = ['stage1'], power = 2".
  Setting(const std::string& type, const std::string& parameters, const Shapes& shapes, std::int64_t rows = 3,
          const Data& data = {})
      : teacher_head_(shapes.teacher.at("pooled").front(), data.classes),
        student_head_(shapes.student.at("pooled").front(), data.classes) {
    kd::load_plugins();
    at::manual_seed(1);  // of the module's first weights
    const at::Tensor labels = kd::testing::byte_batch(data.samples, 1, 1, 1, data.classes).targets.labels;
    loss_ = kd::make<kd::Loss>("{ type = '" + type + "'" + (parameters.empty() ? "" : ", ") + parameters + " }",
                               {.classes = data.classes,
                                .samples = data.samples,
                                .labels = labels,
                                .student = shapes.student,
                                .teachers = {{.taps = shapes.teacher}},
                                .key = kd::RandomKey{}.with("loss")});
    teacher_head_.shapes = shapes.teacher;
    student_head_.shapes = shapes.student;
    const kd::LossNeeds needs = loss_->needs();
    student = make_features(shapes.student, needs.student_taps, rows, data.classes, 100);
    teacher = make_features(shapes.teacher, needs.teacher_taps, rows, data.classes, 200);
    batch = kd::testing::byte_batch(rows, 1, 1, 1, data.classes);
  }

  kd::Loss& loss() { return *loss_; }
  LinearHead& teacher_head() { return teacher_head_; }
  LinearHead& student_head() { return student_head_; }

  /// What the loss gives for these features; buffers are afterwards what they were.
  at::Tensor value(const FeatureMap& of_student, const FeatureMap& of_teacher) {
    FeatureMap before;
    for (const auto& [name, buffer] : kd::testing::buffers_of(*loss_)) before[name] = buffer.clone();
    const at::Tensor result = step(of_student, of_teacher);
    // Past the version counter of autograd: a gradient of the result may be wanted.
    for (const auto& [name, buffer] : kd::testing::buffers_of(*loss_)) buffer.data().copy_(before.at(name));
    return result;
  }
  at::Tensor value() { return value(student, teacher); }
  /// The same, with what the loss remembers changed by it.
  at::Tensor step(const FeatureMap& of_student, const FeatureMap& of_teacher) {
    const kd::Outputs students = outputs(of_student, student_head_), teachers = outputs(of_teacher, teacher_head_);
    return (*loss_)({.student = students, .teachers = {&teachers, 1}, .batch = batch, .time = time, .key = key});
  }

  /// Gradients of the value by the student's features.
  FeatureMap gradients() {
    FeatureMap leaves;
    for (const auto& [name, feature] : student) leaves[name] = feature.detach().clone().requires_grad_(true);
    std::vector<at::Tensor> inputs;
    for (const auto& [name, leaf] : leaves) inputs.push_back(leaf);
    const auto found = torch::autograd::grad({value(leaves, teacher)}, inputs, {}, {}, false, /*allow_unused=*/true);
    FeatureMap result;
    std::size_t i = 0;
    for (const auto& [name, leaf] : leaves) {
      const at::Tensor& gradient = found[i++];
      result[name] = gradient.defined() ? gradient : at::zeros_like(leaf);
    }
    return result;
  }

  /// Changes every feature and brings everything to `device`, the module in `precision`.
  void change(const std::function<at::Tensor(const at::Tensor&)>& f, at::Device device, at::ScalarType precision) {
    kd::testing::place_module(*loss_, device, precision);
    for (FeatureMap* features : {&student, &teacher}) {
      for (auto& [name, feature] : *features) feature = f(feature.to(device));
    }
    batch.targets.labels = batch.targets.labels.to(device);
    batch.index = batch.index.to(device);
    batch.images = batch.images.to(device);
  }
  void make_double() {
    change([](const at::Tensor& feature) { return feature.to(at::kDouble); }, at::kCPU, at::kDouble);
  }

  FeatureMap student, teacher;  ///< "logits" and what the loss asked for
  kd::Batch batch;
  kd::ScheduleTime time{.step = 1000, .steps_per_epoch = 10, .epochs = 240};
  kd::RandomKey key = kd::RandomKey{}.with("step");

 private:
  static FeatureMap make_features(const kd::TapShapes& shapes, const kd::TapRequest& wanted, std::int64_t rows,
                                  std::int64_t classes, std::uint64_t seed) {
    FeatureMap features{{"logits", kd::testing::normal({rows, classes}, seed) * 3}};
    for (const std::string& name : wanted) {
      std::vector<std::int64_t> shape{rows};
      shape.insert(shape.end(), shapes.at(name).begin(), shapes.at(name).end());
      const at::Tensor feature = kd::testing::normal(shape, seed += 1);
      features[name] = name.ends_with("_pre") || name == "logits" ? feature : feature.abs();
    }
    return features;
  }
  static kd::Outputs outputs(const FeatureMap& features, kd::Head& head) {
    kd::TapRequest names;
    for (const auto& [name, feature] : features) names.push_back(name);
    kd::Outputs outputs{.logits = features.at("logits"), .taps = kd::Taps(names), .network = &head};
    for (const auto& [name, feature] : features) outputs.taps.offer(name, feature);
    return outputs;
  }

  std::unique_ptr<kd::Loss> loss_;
  LinearHead teacher_head_, student_head_;
};

/// The gradients by the student's features and by what the loss trains are those of finite differences. `left`: the
/// beginning of the names of parameters that it leaves as they are.
inline void expect_exact_gradients(Setting& setting, double tolerance = 1e-6, const std::string& left = "") {
  setting.make_double();
  setting.step(setting.student, setting.teacher);  // what a loss does only once is done
  for (const auto& [name, feature] : setting.student) {
    const auto f = [&, name = name](const at::Tensor& x) {
      FeatureMap features = setting.student;
      features[name] = x;
      // Finite differences see noise where the value does not depend on x; autograd wants it to.
      return setting.value(features, setting.teacher) + (x * 0).sum();
    };
    EXPECT_LT(kd::testing::gradient_error(f, feature), tolerance) << name;
  }
  for (const auto& [name, parameter] : kd::testing::parameters_of(setting.loss())) {
    const at::Tensor exact =
        torch::autograd::grad({setting.value()}, {parameter}, {}, {}, false, /*allow_unused=*/true)[0];
    const bool is_left = !left.empty() && name.starts_with(left);
    ASSERT_EQ(exact.defined(), !is_left) << name;
    if (is_left) continue;
    const at::NoGradGuard no_gradient;
    constexpr double kStep = 1e-7;  // a batch norm of a few numbers bends within less than that of other checks
    // Along one direction: modules have too many numbers for all of them.
    const at::Tensor direction = kd::testing::normal(parameter.sizes(), 300).to(at::kDouble);
    const at::Tensor before = parameter.clone();
    parameter.copy_(before + direction * kStep);
    const double above = setting.value().item<double>();
    parameter.copy_(before - direction * kStep);
    const double below = setting.value().item<double>();
    parameter.copy_(before);
    const double along = (exact * direction).sum().item<double>();
    EXPECT_NEAR((above - below) / (2 * kStep), along, tolerance * 10 * (1 + std::abs(along))) << name;
  }
}

inline void expect_no_gradient_for_the_teacher(Setting& setting) {
  FeatureMap teacher;
  std::vector<at::Tensor> inputs;
  for (const auto& [name, feature] : setting.teacher)
    inputs.push_back(teacher[name] = feature.detach().clone().requires_grad_(true));
  FeatureMap student;
  for (const auto& [name, feature] : setting.student) student[name] = feature.detach().clone().requires_grad_(true);
  for (const at::Tensor& gradient :
       torch::autograd::grad({setting.value(student, teacher)}, inputs, {}, {}, false, /*allow_unused=*/true)) {
    EXPECT_FALSE(gradient.defined());
  }
}

/// Features in bf16 under the stage's autocast give a float that is near what fp32 gives.
inline void expect_bfloat16(Setting& setting, const at::Device& device) {
  setting.change([](const at::Tensor& feature) { return feature.to(at::kBFloat16).to(at::kFloat); }, device,
                 at::kFloat);
  const double expected = setting.value().item<double>();
  const kd::testing::Autocast autocast(device.type());
  for (FeatureMap* features : {&setting.student, &setting.teacher}) {
    for (auto& [name, feature] : *features) {
      if (name != "logits") feature = feature.to(at::kBFloat16);
    }
  }
  const at::Tensor value = setting.value();
  EXPECT_EQ(value.scalar_type(), at::kFloat);
  EXPECT_NEAR(value.item<double>(), expected, 0.05 * std::abs(expected) + 0.02);
  for (const auto& [name, gradient] : setting.gradients()) EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << name;
}

inline void expect_finite(Setting& setting, const std::string& what) {
  EXPECT_EQ(setting.value().dim(), 0) << what;
  EXPECT_TRUE(setting.value().isfinite().item<bool>()) << what;
  for (const auto& [name, gradient] : setting.gradients())
    EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << what << ", " << name;
}

/// What every loss on features must do, for each of `shapes`.
inline void expect_sound(const std::string& type, const std::string& parameters = "",
                         const std::vector<Shapes>& shapes = {equal(), wider(), narrower_and_larger(),
                                                              wider_and_smaller()},
                         double tolerance = 1e-6) {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    SCOPED_TRACE(type + " " + parameters + ", shapes " + std::to_string(i));
    Setting setting(type, parameters, shapes[i]);
    EXPECT_TRUE(setting.loss().needs().teacher || !setting.loss().needs().teacher_taps.empty());
    expect_no_gradient_for_the_teacher(setting);
    expect_exact_gradients(setting, tolerance);
    EXPECT_EQ(setting.value().scalar_type(), at::kDouble);
    for (const at::Device& device : kd::testing::devices()) {
      Setting half(type, parameters, shapes[i], 6);
      expect_bfloat16(half, device);
      Setting one(type, parameters, shapes[i], 1);
      one.change([](const at::Tensor& feature) { return feature; }, device, at::kFloat);
      expect_finite(one, "a batch of one");
      for (const double factor : {0.0, 1e4}) {
        Setting scaled(type, parameters, shapes[i]);
        scaled.change([&](const at::Tensor& feature) { return feature * factor; }, device, at::kFloat);
        expect_finite(scaled, "features times " + std::to_string(factor));
      }
      Setting constant(type, parameters, shapes[i]);
      constant.change([](const at::Tensor& feature) { return feature * 0 + 1; }, device, at::kFloat);
      expect_finite(constant, "constant features");
    }
  }
}

/// Making the loss throws a RecipeError with `text` in it.
inline void expect_refusal(const std::string& type, const std::string& parameters, const Shapes& shapes,
                           const std::string& text) {
  try {
    Setting setting(type, parameters, shapes);
    FAIL() << type << " was made with " << parameters;
  } catch (const kd::Error& error) {
    EXPECT_EQ(error.code(), kd::ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

/// A feature as plain numbers: feature[sample][channel][place], in double precision.
using Numbers = std::vector<std::vector<std::vector<double>>>;

inline Numbers numbers(const at::Tensor& map) {
  Numbers result;
  const at::Tensor flat = map.flatten(2);
  for (std::int64_t i = 0; i < flat.size(0); ++i) result.push_back(kd::testing::rows(flat[i]));
  return result;
}

}  // namespace kd::testing::features
