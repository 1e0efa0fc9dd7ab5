// For tests of analyses of features: networks that see given features as their images, and a context of such.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kd/features.h"
#include "kd/tensor.h"
#include "kd/testing/analyses.h"

namespace kd::testing {

/// Its images are its features: "pooled" is their mean over the places of a map, and "map" they themselves. Tests may
/// give it more features of them, and a classifier.
class FeatureModel final : public TrainedModel {
 public:
  FeatureModel(NetworkName name, const at::Tensor& features, const std::vector<std::int64_t>& labels,
               std::int64_t classes)
      : name_(std::move(name)) {
    for (std::int64_t c = 0; c < classes; ++c) data_.class_names.push_back("class " + std::to_string(c));
    set(Split::kTest, features, labels);
    weight = at::zeros({classes, features.size(1)});
    bias = at::zeros({classes});
  }

  void set(Split split, const at::Tensor& features, const std::vector<std::int64_t>& labels) {
    features_[split] = (features.dim() == 2 ? features.unsqueeze(2).unsqueeze(3) : features).to(at::kFloat);
    labels_[split] = at::tensor(labels, at::kLong);
  }

  const NetworkName& name() const override { return name_; }
  const DataInfo& data() override { return data_; }
  bool has(Split split) override { return labels_.contains(split); }
  const at::Tensor& labels(Split split) override { return labels_.at(split); }
  const at::Tensor& logits(Split /*split*/) override { throw Error("analyses of features want no answers"); }
  at::Tensor pixels(Split split, std::int64_t begin, std::int64_t count) override {
    passed += count;
    return features_.at(split).narrow(0, begin, count);
  }
  at::Tensor seen(const at::Tensor& pixels) override { return pixels; }
  std::vector<std::string> tap_names() override {
    std::vector<std::string> names;
    for (const auto& [tap, feature] : taps) names.push_back(tap);
    return names;
  }
  at::Tensor features(Split split, const std::string& tap, std::int64_t most) override {
    return taps.at(tap)(features_.at(split)).narrow(0, 0, most);
  }
  at::Tensor compute_logits(Split split, std::int64_t most) override {
    return head(features(split, "pooled", most), "pooled");
  }
  Outputs forward(const at::Tensor& images, const TapRequest& wanted = {},
                  Gradient /*gradient*/ = Gradient::kNone) override {
    Outputs outputs{head(taps.at("pooled")(images), "pooled"), Taps(wanted), this};
    for (const auto& [tap, feature] : taps) outputs.taps.offer(tap, feature(images));
    return outputs;
  }
  std::vector<NamedParameter> weights() override { return {{"weight", weight}, {"bias", bias}}; }
  std::vector<NamedParameter> statistics() override { return {}; }
  void estimate_statistics(Split /*split*/, std::int64_t /*most*/) override {}
  at::Tensor head(const at::Tensor& feature, const std::string& tap) override {
    if (tap != "pooled") throw Error("there is no head for '" + tap + "'");
    return at::matmul(feature, weight.t()) + bias;
  }

  at::Tensor weight, bias;  ///< of the classifier
  std::map<std::string, std::function<at::Tensor(const at::Tensor&)>> taps{
      {"pooled", [](const at::Tensor& images) { return images.mean({2, 3}); }},
      {"map", [](const at::Tensor& images) { return images; }}};
  std::int64_t passed = 0;  ///< images that were asked for
  DataInfo data_;

 private:
  const NetworkName name_;
  std::map<Split, at::Tensor> features_, labels_;
};

class FeatureContext final : public FakeAnalysisContext {
 public:
  const std::vector<TrainedModel*>& networks() override { return networks_; }
  TrainedModel& load(const std::string& run, const std::string& /*stage*/, const std::string& /*network*/) override {
    return other_runs.at(run);
  }

  FeatureModel& add(const std::string& stage, const std::string& network, const at::Tensor& features,
                    const std::vector<std::int64_t>& labels, std::int64_t classes = 3) {
    models_.emplace_back(NetworkName{stage, network}, features, labels, classes);
    networks_.push_back(&models_.back());
    return models_.back();
  }

  std::map<std::string, FeatureModel> other_runs;  ///< the one network of each, by run folder

 private:
  std::deque<FeatureModel> models_;
  std::vector<TrainedModel*> networks_;
};

}  // namespace kd::testing
