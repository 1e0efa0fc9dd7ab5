// Writes a model and what it computes to files, for compare_models.py to hold against plain PyTorch.
//
//   dump_model TOML CLASSES CHANNELSxHEIGHTxWIDTH FOLDER
//
// The folder receives one raw little-endian float32 file per tensor, and index.txt with lines "name dtype shape file".
#include <torch/nn.h>

#include <bit>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "kd/model.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

constexpr std::int64_t kBatch = 8;

class TensorFolder {
 public:
  explicit TensorFolder(const std::filesystem::path& folder) : folder_(folder) {
    std::filesystem::create_directories(folder);
    index_.exceptions(std::ios::failbit | std::ios::badbit);
    index_.open(folder / "index.txt");
  }

  void write(const std::string& name, const at::Tensor& tensor) {
    const at::Tensor values = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
    const std::string file = std::to_string(count_++) + ".bin";
    std::ofstream stream(folder_ / file, std::ios::binary);
    stream.exceptions(std::ios::failbit | std::ios::badbit);
    stream.write(reinterpret_cast<const char*>(values.const_data_ptr<float>()), values.numel() * 4);
    index_ << name << " float32 " << describe_shape(values) << ' ' << file << '\n';
  }

 private:
  static std::string describe_shape(const at::Tensor& tensor) {
    std::string text;
    for (const std::int64_t size : tensor.sizes()) {
      if (!text.empty()) text += 'x';
      text += std::to_string(size);
    }
    return text.empty() ? "scalar" : text;
  }

  std::filesystem::path folder_;
  std::ofstream index_;
  int count_ = 0;
};

void write_all(TensorFolder& folder, const std::string& group,
               const torch::OrderedDict<std::string, at::Tensor>& named) {
  for (const auto& item : named) folder.write(group + "/" + item.key(), item.value());
}

/// Forward pass that writes logits and taps under "eval/…" or "train/…".
at::Tensor run(kd::Model& model, const at::Tensor& images, bool training, TensorFolder& folder) {
  model.module()->train(training);
  kd::Taps taps(model.tap_names());
  const at::Tensor logits = model.forward(images, {.taps = &taps, .key = {}});
  const std::string mode = training ? "train" : "eval";
  folder.write(mode + "/logits", logits);
  for (const std::string& name : model.tap_names()) folder.write(mode + "/tap/" + name, taps.at(name));
  return logits;
}

/// Moves parameters and buffers away from zeros and ones, which would hide a layer that is left out or misplaced.
void spread_state(kd::Model& model, const at::Tensor& images) {
  const at::NoGradGuard no_gradient;
  std::uint64_t seed = 100;
  for (at::Tensor& parameter : model.module()->parameters()) {
    if (parameter.dim() == 1) parameter.add_(kd::testing::normal(parameter.sizes(), ++seed), 0.1);
  }
  model.module()->train();
  model.forward(images, {});
}

void dump(const std::string& toml, const kd::Model::Context& context, const std::filesystem::path& path) {
  TensorFolder folder(path);
  at::manual_seed(1);
  const auto model = kd::make<kd::Model>(toml, context);
  const at::Tensor images = kd::testing::normal({kBatch, context.channels, context.height, context.width}, 2);
  const at::Tensor factors = kd::testing::normal({kBatch, context.classes}, 3);
  spread_state(*model, images);
  folder.write("input", images);
  folder.write("factors", factors);
  write_all(folder, "parameter", model->module()->named_parameters());
  write_all(folder, "buffer", model->module()->named_buffers());
  run(*model, images, /*training=*/false, folder);
  (run(*model, images, /*training=*/true, folder) * factors).sum().backward();
  write_all(folder, "buffer_after", model->module()->named_buffers());
  for (const auto& parameter : model->module()->named_parameters()) {
    folder.write("gradient/" + parameter.key(), parameter.value().grad());
  }
}

kd::Model::Context parse_context(const std::string& classes, const std::string& shape) {
  const std::size_t first = shape.find('x');
  const std::size_t second = shape.find('x', first + 1);
  if (first == std::string::npos || second == std::string::npos) throw kd::Error("not CHANNELSxHEIGHTxWIDTH: " + shape);
  return {.channels = std::stoll(shape.substr(0, first)),
          .height = std::stoll(shape.substr(first + 1, second - first - 1)),
          .width = std::stoll(shape.substr(second + 1)),
          .classes = std::stoll(classes)};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: dump_model TOML CLASSES CHANNELSxHEIGHTxWIDTH FOLDER\n";
    return 2;
  }
  try {
    for (const std::string& refusal : kd::load_plugins()) std::cerr << refusal << '\n';
    dump(argv[1], parse_context(argv[2], argv[3]), argv[4]);
  } catch (const std::exception& error) {
    std::cerr << "dump_model: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
