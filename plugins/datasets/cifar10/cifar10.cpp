// CIFAR-10: 32×32 colour images of ten kinds of things (Krizhevsky, 2009), from its binary version.
//   data = { type = "cifar10" }
#include <ATen/ops/cat.h>

#include "cifar_binary.h"
#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

constexpr std::int64_t kFileRecords = 10'000;
constexpr int kTrainFiles = 5;

class Cifar10 final : public kd::DataSet {
 public:
  using Params = kd::NoParameters;

  static kd::DataSource source() {
    return {.folder = "cifar-10-batches-bin",
            .archives = {{"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                          "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", ""}},
            .files = {{"cifar-10-batches-bin/batches.meta.txt", ""},
                      {"cifar-10-batches-bin/data_batch_1.bin", ""},
                      {"cifar-10-batches-bin/data_batch_2.bin", ""},
                      {"cifar-10-batches-bin/data_batch_3.bin", ""},
                      {"cifar-10-batches-bin/data_batch_4.bin", ""},
                      {"cifar-10-batches-bin/data_batch_5.bin", ""},
                      {"cifar-10-batches-bin/test_batch.bin", ""}}};
  }

  Cifar10(const Params&, const Context& context) : folder_(context.root / "cifar-10-batches-bin") {}

  kd::DataInfo info() const override {
    return {.channels = cifar::kChannels,
            .height = cifar::kSide,
            .width = cifar::kSide,
            .class_names = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
            .mean = {0.4914, 0.4822, 0.4465},
            .deviation = {0.2470, 0.2435, 0.2616}};
  }

  kd::ImageSet load(kd::Split split) const override {
    if (split == kd::Split::kTest) return load_file("test_batch.bin");
    std::vector<at::Tensor> images, labels;
    for (int i = 1; i <= kTrainFiles; ++i) {
      const kd::ImageSet part = load_file("data_batch_" + std::to_string(i) + ".bin");
      images.push_back(part.images);
      labels.push_back(part.labels);
    }
    return {.images = at::cat(images), .labels = at::cat(labels)};
  }

 private:
  kd::ImageSet load_file(const std::string& name) const {
    constexpr cifar::Layout kLayout{.label_bytes = 1, .label = 0, .classes = 10};
    return cifar::parse_records(cifar::read_file(folder_ / name, "cifar10"), kLayout, kFileRecords);
  }

  const std::filesystem::path folder_;
};

}  // namespace

KD_REGISTER(kd::DataSet, "cifar10", Cifar10, "photographs: 50000 + 10000 colour images of 32x32, 10 classes")
