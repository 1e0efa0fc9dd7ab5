// What the tests of the convolutional networks share: state, features, layouts, precisions and a step of training.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/nn.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "kd/model.h"
#include "kd/plugin.h"
#include "kd/testing/autocast.h"
#include "kd/testing/basics.h"

namespace kd::testing {

constexpr kd::Model::Context kCifar100{.channels = 3, .height = 32, .width = 32, .classes = 100};
constexpr kd::Model::Context kSmallImages{.channels = 3, .height = 16, .width = 16, .classes = 10};
constexpr kd::Model::Context kTinyImages{.channels = 3, .height = 8, .width = 8, .classes = 10};

inline std::unique_ptr<kd::Model> make_network(const std::string& toml, const kd::Model::Context& context = kCifar100) {
  // These networks are too small for more: a second thread is waited for wherever another test holds its processor.
  at::set_num_threads(1);
  kd::load_plugins();
  at::manual_seed(1);
  return kd::make<kd::Model>(toml, context);
}

inline at::Tensor make_images(const kd::Model::Context& context, std::int64_t count) {
  return kd::testing::normal({count, context.channels, context.height, context.width});
}

inline std::string describe_shape(const at::Tensor& tensor) {
  std::string text;
  for (const std::int64_t size : tensor.sizes()) {
    if (!text.empty()) text += 'x';
    text += std::to_string(size);
  }
  return text.empty() ? "scalar" : text;
}

/// Name, shape and role of every parameter and buffer, in the order of Python's state_dict().
inline std::string list_state(torch::nn::Module& module) {
  std::ostringstream text;
  for (const auto& part : module.named_modules("", /*include_self=*/true)) {
    const std::string prefix = part.key().empty() ? "" : part.key() + ".";
    for (const auto& parameter : part.value()->named_parameters(/*recurse=*/false)) {
      text << prefix << parameter.key() << '\t' << describe_shape(parameter.value()) << "\tparam\n";
    }
    for (const auto& buffer : part.value()->named_buffers(/*recurse=*/false)) {
      text << prefix << buffer.key() << '\t' << describe_shape(buffer.value()) << "\tbuffer\n";
    }
  }
  return text.str();
}

inline std::int64_t count_parameters(kd::Model& model) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : model.module()->parameters()) count += parameter.numel();
  return count;
}

/// The network has the state that `file` lists, and as many parameters as are published.
inline void expect_state(const std::string& toml, const std::string& file, std::int64_t parameters) {
  const std::ifstream stream(file);
  std::ostringstream expected;
  expected << stream.rdbuf();
  ASSERT_FALSE(expected.str().empty()) << file;
  const auto model = make_network(toml);
  EXPECT_EQ(list_state(*model->module()), expected.str()) << toml;
  EXPECT_EQ(count_parameters(*model), parameters) << toml;
}

/// Every feature of the network for its images, without gradients.
inline kd::Taps compute_taps(kd::Model& model, const at::Tensor& images) {
  const at::NoGradGuard no_gradient;
  kd::Taps taps(model.tap_names());
  const at::Tensor logits = model.forward(images, {.taps = &taps, .key = {}});
  EXPECT_TRUE(taps.at("logits").equal(logits));
  return taps;
}

/// "stem 16x32x32\n…": the features in order, with their shapes for one image.
inline std::string describe_taps(const std::string& toml, const kd::Model::Context& context = kCifar100) {
  const auto model = make_network(toml, context);
  const kd::Taps taps = compute_taps(*model, make_images(context, 2));
  std::string text;
  for (const std::string& name : model->tap_names()) text += name + ' ' + describe_shape(taps.at(name)[0]) + '\n';
  return text;
}

/// Each stage's feature is its "_pre" one with negative numbers replaced by 0, of which there are some.
inline void expect_activated_stages(const std::string& toml) {
  const auto model = make_network(toml, kSmallImages);
  const kd::Taps taps = compute_taps(*model, make_images(kSmallImages, 2));
  for (const std::string& name : model->tap_names()) {
    if (!name.ends_with("_pre")) continue;
    const at::Tensor& before = taps.at(name);
    EXPECT_LT(before.min().item<double>(), 0) << name;
    EXPECT_TRUE(taps.at(name.substr(0, name.size() - 4)).equal(before.clamp_min(0))) << name;
  }
}

/// ‖a − b‖ / ‖b‖
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

/// The head gives the network's logits for its own last features, and refuses those further in front.
inline void expect_head(const std::string& toml, const kd::Model::Context& context = kSmallImages) {
  const at::NoGradGuard no_gradient;
  const auto model = make_network(toml, context);
  model->module()->eval();
  const kd::Taps taps = compute_taps(*model, make_images(context, 2));
  const std::vector<std::string> names = model->tap_names();
  int heads = 0;
  for (const std::string& name : names) {
    try {
      const at::Tensor logits = model->head(taps.at(name), name);
      EXPECT_TRUE(logits.allclose(taps.at("logits"), 1e-5, 1e-5)) << name;
      ++heads;
    } catch (const kd::Error& error) {
      EXPECT_EQ(std::string(error.what()), "the model has no head for the feature '" + name + "'");
    }
  }
  EXPECT_GE(heads, 1) << toml;
}

/// What the network tells of the batch norms that features come out of, for `stages` of them, is so: a feature rises by
/// what is added to the shift, and where it is the batch norm's output alone (`sum` false), it is twice as far from the
/// shift with twice the scale.
inline void expect_batch_norms(const std::string& toml, int stages, bool sum = true) {
  const at::NoGradGuard no_gradient;
  const auto model = make_network(toml, kSmallImages);
  model->module()->eval();
  const at::Tensor images = make_images(kSmallImages, 2);
  const auto per_channel = [](const at::Tensor& x) { return x.view({1, -1, 1, 1}); };
  for (int stage = 1; stage <= stages; ++stage) {
    const std::string tap = "stage" + std::to_string(stage) + "_pre";
    SCOPED_TRACE(toml + " " + tap);
    const at::Tensor before = compute_taps(*model, images).at(tap).clone();
    const kd::BatchNormAffine norm = model->batch_norm(tap);  // the network's own numbers
    ASSERT_EQ(norm.scale.size(0), before.size(1));
    const at::Tensor added = kd::testing::normal(norm.shift.sizes(), 5);
    norm.shift.add_(added);
    EXPECT_TRUE(compute_taps(*model, images).at(tap).allclose(before + per_channel(added), 1e-4, 1e-4));
    norm.shift.sub_(added);
    if (sum) continue;
    norm.scale.mul_(2);
    const at::Tensor shift = per_channel(norm.shift);
    EXPECT_TRUE(compute_taps(*model, images).at(tap).allclose((before - shift) * 2 + shift, 1e-4, 1e-4));
    norm.scale.div_(2);
  }
  EXPECT_THROW(model->batch_norm("pooled"), kd::Error);
}

/// Asking for features changes nothing: logits and batch statistics are the same with and without.
inline void expect_taps_change_nothing(const std::string& toml) {
  const at::NoGradGuard no_gradient;
  const at::Tensor images = make_images(kSmallImages, 2);
  const auto with = make_network(toml, kSmallImages);
  const auto without = make_network(toml, kSmallImages);
  const kd::Taps taps = compute_taps(*with, images);
  EXPECT_TRUE(taps.at("logits").equal(without->forward(images, {})));
  const auto expected = without->module()->named_buffers();
  for (const auto& buffer : with->module()->named_buffers()) {
    EXPECT_TRUE(buffer.value().equal(expected[buffer.key()])) << buffer.key();
  }
}

/// Channels-last weights and images give the same logits, and channels-last features throughout.
inline void expect_channels_last(const std::string& toml) {
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_network(toml, kSmallImages);
    model->module()->to(device);
    model->module()->eval();
    const at::Tensor images = make_images(kSmallImages, 4).to(device);
    const kd::Taps expected = compute_taps(*model, images);
    for (at::Tensor& parameter : model->module()->parameters()) {
      if (parameter.dim() == 4) parameter.set_data(parameter.data().contiguous(at::MemoryFormat::ChannelsLast));
    }
    const kd::Taps taps = compute_taps(*model, images.contiguous(at::MemoryFormat::ChannelsLast));
    for (const std::string& name : model->tap_names()) {
      const at::Tensor& feature = taps.at(name);
      EXPECT_LT(relative_difference(feature, expected.at(name)), 1e-3) << device << ' ' << name;
      if (feature.dim() != 4) continue;
      EXPECT_TRUE(feature.is_contiguous(at::MemoryFormat::ChannelsLast)) << device << ' ' << name;
    }
  }
}

/// Under bf16 autocast every feature is bf16, and near what fp32 gives.
inline void expect_bfloat16(const std::string& toml) {
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_network(toml, kSmallImages);
    model->module()->to(device);
    model->module()->eval();
    const at::Tensor images = make_images(kSmallImages, 4).to(device);
    const kd::Taps expected = compute_taps(*model, images);
    const Autocast autocast(device.type());
    const kd::Taps taps = compute_taps(*model, images);
    for (const std::string& name : model->tap_names()) {
      EXPECT_EQ(taps.at(name).scalar_type(), at::kBFloat16) << device << ' ' << name;
      EXPECT_LT(relative_difference(taps.at(name), expected.at(name)), 0.1) << device << ' ' << name;
    }
  }
}

/// Gradients of all parameters in one row, of the cross-entropy of a few images.
inline at::Tensor compute_gradients(kd::Model& model, const at::Tensor& images) {
  const at::Tensor labels = at::arange(images.size(0), images.options().dtype(at::kLong));
  at::cross_entropy_loss(model.forward(images, {}).to(at::kFloat), labels).backward();
  std::vector<at::Tensor> gradients;
  for (at::Tensor& parameter : model.module()->parameters()) {
    gradients.push_back(parameter.grad().flatten());
    parameter.mutable_grad().reset();
  }
  return at::cat(gradients);
}

/// Under bf16 autocast the gradients point where those of fp32 do.
inline void expect_bfloat16_gradients(const std::string& toml) {
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_network(toml, kSmallImages);
    model->module()->to(device);
    model->module()->eval();
    const at::Tensor images = make_images(kSmallImages, 4).to(device).contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor expected = compute_gradients(*model, images);
    const Autocast autocast(device.type());
    const at::Tensor gradients = compute_gradients(*model, images);
    const at::Tensor cosine = (gradients * expected).sum() / (gradients.norm() * expected.norm());
    EXPECT_GT(cosine.item<double>(), 0.99) << toml << ' ' << device;
  }
}

/// Every parameter receives a gradient, and one small step against them lowers the loss as much as they say, in double
/// precision. With `training` off batch norm uses its running statistics: what stands before it then has a gradient
/// that batch statistics would cancel.
inline void expect_training_step(const std::string& toml, bool training = true) {
  constexpr double kStep = 1e-4;
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_network(toml, kTinyImages);
    model->module()->to(device, at::kDouble);
    model->module()->train(training);
    const at::Tensor images = make_images(kTinyImages, 8).to(device, at::kDouble);
    const at::Tensor labels = at::arange(8, images.options().dtype(at::kLong));
    const auto compute_loss = [&] { return at::cross_entropy_loss(model->forward(images, {}), labels); };
    const at::Tensor before = compute_loss();
    before.backward();
    const at::NoGradGuard no_gradient;
    double squares = 0;
    for (const auto& parameter : model->module()->named_parameters()) {
      const at::Tensor gradient = parameter.value().grad();
      ASSERT_TRUE(gradient.defined()) << toml << ' ' << parameter.key();
      EXPECT_GT(gradient.abs().max().item<double>(), 0) << toml << ' ' << parameter.key();
      squares += gradient.square().sum().item<double>();
    }
    // To first order the loss falls by the rate times the squared norm of the gradient.
    for (at::Tensor& parameter : model->module()->parameters()) parameter.sub_(parameter.grad(), kStep / squares);
    EXPECT_NEAR((before - compute_loss()).item<double>(), kStep, 0.1 * kStep) << toml << ' ' << device;
  }
}

/// The standard deviation of the parameter `name`.
inline double deviation_of(kd::Model& model, const std::string& name) {
  return model.module()->named_parameters()[name].std().item<double>();
}

/// The parameter `name` is all `value`.
inline bool is_constant(kd::Model& model, const std::string& name, double value) {
  return model.module()->named_parameters()[name].eq(value).all().item<bool>();
}

/// Making the network throws, with `text` in the message.
inline void expect_refusal(const std::string& toml, const std::string& text,
                           const kd::Model::Context& context = kCifar100) {
  try {
    make_network(toml, context);
    FAIL() << toml << " was accepted";
  } catch (const kd::Error& error) {
    EXPECT_EQ(error.code(), kd::ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

}  // namespace kd::testing
