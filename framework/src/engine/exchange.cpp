// exchange.h
#include "engine/exchange.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <cstring>

namespace kd {

std::vector<std::string> gather_texts(Group& group, const std::string& own) {
  const at::Tensor size = at::full({1}, static_cast<std::int64_t>(own.size()), at::TensorOptions().dtype(at::kLong));
  const at::Tensor sizes = group.gather(size).contiguous();
  const at::Tensor bytes = at::empty({size.item<std::int64_t>()}, at::TensorOptions().dtype(at::kByte));
  if (!own.empty()) std::memcpy(bytes.mutable_data_ptr(), own.data(), own.size());
  const at::Tensor all = group.gather(bytes).contiguous();
  const auto* begin = static_cast<const char*>(all.const_data_ptr());
  std::vector<std::string> texts;
  for (std::int64_t rank = 0; rank < group.size(); ++rank) {
    const std::int64_t length = sizes.const_data_ptr<std::int64_t>()[rank];
    texts.emplace_back(begin, static_cast<std::size_t>(length));
    begin += length;
  }
  return texts;
}

TensorMap gather_tensors(Group& group, const TensorMap& own) {
  TensorMap all;
  for (const std::string& bytes : gather_texts(group, to_safetensors(own)))
    all.merge(from_safetensors(bytes, "what another process sent"));
  return all;
}

}  // namespace kd
