// What the tests of the schemes of peers share.
#pragma once

#include "kd/testing/stages.h"

namespace peer_checks {

namespace fakes = kd::testing::fakes;

/// A stage of `networks` networks without teachers; `parameters` as a recipe writes them.
inline fakes::Stage make(const std::string& parameters, int networks, const at::Device& device = at::kCPU) {
  return fakes::Stage("{ " + parameters + " }", device, {.networks = networks, .teacher_weights = {}});
}

/// What the networks of a stage answer to its batch, at this moment.
struct Snapshot {
  explicit Snapshot(const fakes::Stage& stage) {
    for (const fakes::Network& network : stage.all_networks) {
      logits.push_back(network.classifier.logits(stage.batch.images).detach().clone());
      p.push_back(fakes::probabilities(logits.back(), 1));
    }
  }

  std::vector<at::Tensor> logits;
  std::vector<fakes::Rows> p;  ///< posteriors
};

/// (p − y)/B + weight · (p − q)/B, times the images: of cross-entropy and of KL(q‖p) at temperature 1.
inline at::Tensor expected_gradient(const fakes::Stage& stage, const fakes::Rows& p, const fakes::Rows& q,
                                    double weight) {
  fakes::Rows by_logits = p;
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (std::size_t c = 0; c < p[i].size(); ++c) {
      const double label = i % p[i].size() == c ? 1 : 0;
      by_logits[i][c] = (p[i][c] - label + weight * (p[i][c] - q[i][c])) / fakes::kSamples;
    }
  }
  return fakes::weight_gradient(stage.batch.images, by_logits);
}

inline bool has_no_gradient(const std::vector<kd::Term>& terms, const fakes::Network& network) {
  const auto gradients = torch::autograd::grad({fakes::objective(terms)}, {network.classifier.weight}, {},
                                               /*retain_graph=*/true, /*create_graph=*/false, /*allow_unused=*/true);
  return !gradients[0].defined();
}

}  // namespace peer_checks
