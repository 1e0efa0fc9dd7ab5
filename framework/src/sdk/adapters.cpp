// kd/adapters.h
#include "kd/adapters.h"

#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/relu.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <functional>
#include <utility>
#include <vector>

#include "sdk/adapter_count.h"

namespace kd {
namespace {

thread_local std::int64_t filled = 0;

/// `layer` with the first weights that are asked for.
template <class Layer>
Layer begun(Layer layer, FirstWeights weights) {
  if (weights == FirstWeights::kUniformLinear) torch::nn::init::kaiming_uniform_(layer->weight, 1);
  if (weights == FirstWeights::kNormalOverOutputs)
    torch::nn::init::kaiming_normal_(layer->weight, 0, torch::kFanOut, torch::kReLU);
  return layer;
}

}  // namespace

struct Layers::Chain {
  /// Keeps `layer` under its place in the chain, as a Python Sequential names it.
  template <class Layer>
  void add(Layer layer) {
    ++filled;
    module->register_module(std::to_string(steps.size()), layer);
    steps.emplace_back([layer](const at::Tensor& x) mutable { return layer->forward(x); });
  }

  std::shared_ptr<torch::nn::Module> module = std::make_shared<torch::nn::Module>("Layers");
  std::vector<std::function<at::Tensor(const at::Tensor&)>> steps;
};

Layers& Layers::convolution(std::int64_t in, std::int64_t out, const ConvolutionOptions& options) {
  chain_->add(begun(torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, options.kernel)
                                          .stride(options.stride)
                                          .padding(options.padding)
                                          .bias(options.bias)),
                    options.weights));
  return *this;
}

Layers& Layers::transposed_convolution(std::int64_t in, std::int64_t out, const ConvolutionOptions& options) {
  chain_->add(begun(torch::nn::ConvTranspose2d(torch::nn::ConvTranspose2dOptions(in, out, options.kernel)
                                                   .stride(options.stride)
                                                   .padding(options.padding)
                                                   .bias(options.bias)),
                    options.weights));
  return *this;
}

Layers& Layers::linear(std::int64_t in, std::int64_t out, bool bias) {
  chain_->add(torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(bias)));
  return *this;
}

Layers& Layers::batch_norm(std::int64_t channels) {
  torch::nn::BatchNorm2d of_maps(channels);
  const auto name = std::to_string(chain_->steps.size());
  chain_->module->register_module(name, of_maps);
  ++filled;
  chain_->steps.emplace_back([of_maps](const at::Tensor& x) mutable {
    const at::Tensor map = x.dim() == 4 ? x : x.unsqueeze(2).unsqueeze(3);
    // The last batch of an epoch may leave one number to a channel, which has no deviation: the running one serves.
    const bool alone = map.numel() == map.size(1);
    if (alone) of_maps->eval();
    const at::Tensor y = of_maps->forward(map);
    if (alone) of_maps->train();
    return x.dim() == 4 ? y : y.flatten(1);
  });
  return *this;
}

Layers& Layers::relu(double slope) {
  chain_->steps.emplace_back(
      [slope](const at::Tensor& x) { return slope == 0 ? at::relu(x) : at::leaky_relu(x, slope); });
  return *this;
}

at::Tensor Layers::operator()(const at::Tensor& feature) const {
  at::Tensor x = feature;
  for (const auto& step : chain_->steps) x = step(x);
  return x;
}

std::int64_t filled_adapters() { return filled; }

AdapterModule::AdapterModule() : module_(std::make_shared<torch::nn::Module>("AdapterModule")) {}

Layers AdapterModule::layers(const std::string& name) {
  auto chain = std::make_shared<Layers::Chain>();
  module_->register_module(name, chain->module);
  return Layers(std::move(chain));
}

at::Tensor AdapterModule::parameter(const std::string& name, const at::Tensor& first) {
  ++filled;
  return module_->register_parameter(name, first.detach().clone());
}

at::Tensor AdapterModule::buffer(const std::string& name, const at::Tensor& first) {
  ++filled;
  return module_->register_buffer(name, first.detach().clone());
}

}  // namespace kd
