// Features of chosen samples of a network, several from one pass, without one over the whole split.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/tensor.h"

namespace kd::analyses {

/// Samples of a split as the network sees them, in this order; what lies side by side is read at once.
inline at::Tensor images_at(TrainedModel& network, Split split, const std::vector<std::int64_t>& samples) {
  std::vector<at::Tensor> parts;
  for (std::size_t begin = 0; begin < samples.size();) {
    std::size_t end = begin + 1;
    while (end < samples.size() && samples[end] == samples[end - 1] + 1) ++end;
    parts.push_back(network.images(split, samples[begin], static_cast<std::int64_t>(end - begin)));
    begin = end;
  }
  return at::cat(parts);
}

/// The features `taps` of these samples, at least one, in this order: each double, N×D, on the CPU. Maps are averaged
/// over the image, or flattened where not `pool`. Throws RecipeError that lists what the network offers.
inline std::vector<at::Tensor> features_at(TrainedModel& network, Split split, const std::vector<std::string>& taps,
                                           const std::vector<std::int64_t>& samples, bool pool = true) {
  constexpr std::size_t kBatch = 200;
  const std::vector<std::string> known = network.tap_names();
  for (const std::string& tap : taps) {
    if (std::find(known.begin(), known.end(), tap) == known.end())
      throw RecipeError({}, network.name().text() + " has no feature '" + tap + "'",
                        name_hint(tap, known, "it offers"));
  }
  std::vector<std::vector<at::Tensor>> parts(taps.size());
  for (std::size_t begin = 0; begin < samples.size(); begin += kBatch) {
    const auto first = samples.begin() + static_cast<std::ptrdiff_t>(begin);
    const std::size_t count = std::min(kBatch, samples.size() - begin);
    const at::Tensor images = images_at(network, split, {first, first + static_cast<std::ptrdiff_t>(count)});
    const Taps features = network.forward(images, taps).taps;
    for (std::size_t i = 0; i < taps.size(); ++i) {
      const at::Tensor feature = features.at(taps[i]).to(at::kFloat);
      const at::Tensor rows = pool && feature.dim() > 2 ? feature.flatten(2).mean(2) : feature.flatten(1);
      parts[i].push_back(rows.cpu().to(at::kDouble));
    }
  }
  std::vector<at::Tensor> all;
  for (const std::vector<at::Tensor>& of_tap : parts) all.push_back(at::cat(of_tap));
  return all;
}

}  // namespace kd::analyses
