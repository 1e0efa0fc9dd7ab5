// placement.h
#include "engine/placement.h"

#include <torch/nn/module.h>

#include "engine/device.h"
#include "kd/plugin.h"
#include "sdk/seeded_initialisation.h"

namespace kd {

at::Tensor in_memory_order(const at::Tensor& images, const Placement& placement) {
  return placement.channels_last && images.dim() == 4 ? images.contiguous(at::MemoryFormat::ChannelsLast) : images;
}

void set_memory_order(Model& model, const Placement& placement) {
  if (!placement.channels_last) return;
  for (auto& parameter : model.module()->parameters()) {
    if (parameter.dim() == 4) parameter.set_data(parameter.data().contiguous(at::MemoryFormat::ChannelsLast));
  }
}

std::unique_ptr<Model> place_model(const ComponentSpec& spec, const DataInfo& info, RandomKey key,
                                   const Placement& placement) {
  const SeededInitialisation first_weights(key.with("initialisation"));
  auto model = make<Model>(
      spec, {.channels = info.channels, .height = info.height, .width = info.width, .classes = info.classes()});
  model->module()->to(placement.device);
  set_memory_order(*model, placement);
  return model;
}

std::int64_t count_parameters(Model& model) {
  std::int64_t count = 0;
  for (const auto& parameter : model.module()->parameters()) count += parameter.numel();
  return count;
}

EvaluationMode::EvaluationMode(Model& model) {
  for (const auto& part : model.module()->modules(/*include_self=*/true))
    parts_.emplace_back(part, part->is_training());
  model.module()->eval();
}

EvaluationMode::~EvaluationMode() {
  for (const auto& [part, training] : parts_) part->train(training);  // parents come before their parts
}

TapShapes tap_shapes(Model& model, const Placement& placement, const at::Tensor& images) {
  const at::NoGradGuard no_gradient;
  const EvaluationMode evaluation(model);
  Taps taps(model.tap_names());
  const AutocastGuard autocast(placement.device, placement.precision);
  model.forward(in_memory_order(images, placement), {.taps = &taps, .key = {}});
  TapShapes shapes;
  for (const std::string& name : model.tap_names()) {
    if (taps.has(name)) shapes[name] = taps.at(name).sizes().slice(1).vec();
  }
  return shapes;
}

}  // namespace kd
