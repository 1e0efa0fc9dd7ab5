// The channel shuffle of the ShuffleNets.
#pragma once

#include <ATen/core/Tensor.h>

namespace blocks {

/// Channel i·(C/groups) + j becomes channel j·groups + i: Zhang et al., "ShuffleNet", CVPR 2018, arXiv 1707.01083,
/// section 3.1.
inline at::Tensor shuffle_channels(const at::Tensor& x, std::int64_t groups) {
  // The copy that flatten() makes is row-major: a channels-last image is shuffled as N×H×W×C, which keeps its layout.
  const bool channels_last = x.suggest_memory_format() == at::MemoryFormat::ChannelsLast;
  const std::int64_t dim = channels_last ? 3 : 1;
  const at::Tensor image = channels_last ? x.permute({0, 2, 3, 1}) : x;
  const at::Tensor shuffled = image.unflatten(dim, {groups, -1}).transpose(dim, dim + 1).flatten(dim, dim + 1);
  return channels_last ? shuffled.permute({0, 3, 1, 2}) : shuffled;
}

}  // namespace blocks
