// kd::to_float, kd::Sizing::apply and kd::read_data_file: what data sets and augmentations share.
#include <ATen/ops/stack.h>

#include <fstream>

#include "kd/augmentation.h"
#include "kd/dataset.h"
#include "kd/diagnostics.h"

namespace kd {

at::Tensor to_float(const at::Tensor& images) {
  return images.scalar_type() == at::kByte ? images.to(at::kFloat).mul_(1.0 / 255.0) : images;
}

void Sizing::apply(Batch& batch, RandomKey key) const {
  const at::Tensor index = batch.index.cpu();
  const auto* counters = index.const_data_ptr<std::int64_t>();
  batch.change_images([&](const at::Tensor& images) {
    const at::Tensor bytes = images.cpu();
    std::vector<at::Tensor> sized;
    for (std::int64_t i = 0; i < bytes.size(0); ++i)
      sized.push_back(size_in_training(bytes[i], key.with(static_cast<std::uint64_t>(counters[i]))));
    return at::stack(sized).to(images.device());
  });
}

std::vector<std::uint8_t> read_data_file(const std::filesystem::path& file, const std::string& remedy) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  if (error) throw FileError("cannot read " + file.string() + ": " + error.message() + "; " + remedy);
  std::vector<std::uint8_t> bytes(size);
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size))) {
    throw FileError("cannot read all of " + file.string() + "; " + remedy);
  }
  return bytes;
}

}  // namespace kd
