// CIFAR-100: 32×32 colour images of 100 kinds of things in 20 groups (Krizhevsky, 2009), from its binary version.
//   data = { type = "cifar100", labels = "fine" }
#include "../cifar10/cifar_binary.h"
#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

enum class Labels { kFine, kCoarse };

class Cifar100 final : public kd::DataSet {
 public:
  struct Params {
    Labels labels = Labels::kFine;

    static void schema(kd::Schema<Params>& s) {
      s.choice("labels", &Params::labels, {{"fine", Labels::kFine}, {"coarse", Labels::kCoarse}},
               "fine: 100 classes; coarse: the 20 groups of five classes each")
          .def("fine");
    }
  };

  static kd::DataSource source() {
    return {
        .folder = "cifar-100-binary",
        .archives = {{"https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                      "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", ""}},
        .files = {{"cifar-100-binary/train.bin", "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"},
                  {"cifar-100-binary/test.bin", "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"},
                  {"cifar-100-binary/fine_label_names.txt",
                   "4a53f81a8af29bb6aa646bfe2c455db1b061edfde82a39c0cfc313ef536c681b"},
                  {"cifar-100-binary/coarse_label_names.txt",
                   "14e28b5b70e3d8a29704b0d9f8c5985cca5f3c3d08ea043dcc87a036df37a2b3"}}};
  }

  Cifar100(const Params& params, const Context& context)
      : fine_(params.labels == Labels::kFine), folder_(context.root / "cifar-100-binary") {}

  // The constants of RepDistiller and mdistiller, whose published numbers recipes compare with. They agree with the
  // training set to 0.0002.
  kd::DataInfo info() const override {
    const std::string file = fine_ ? "fine_label_names.txt" : "coarse_label_names.txt";
    const auto count = static_cast<std::size_t>(layout().classes);
    return {.channels = cifar::kChannels,
            .height = cifar::kSide,
            .width = cifar::kSide,
            .class_names = cifar::parse_names(cifar::read_file(folder_ / file, "cifar100"), count),
            .mean = {0.5071, 0.4867, 0.4408},
            .deviation = {0.2675, 0.2565, 0.2761}};
  }

  kd::ImageSet load(kd::Split split) const override {
    const bool train = split == kd::Split::kTrain;
    const cifar::File file = cifar::read_file(folder_ / (train ? "train.bin" : "test.bin"), "cifar100");
    return cifar::parse_records(file, layout(), train ? 50'000 : 10'000);
  }

 private:
  cifar::Layout layout() const {
    return fine_ ? cifar::Layout{.label_bytes = 2, .label = 1, .classes = 100}
                 : cifar::Layout{.label_bytes = 2, .label = 0, .classes = 20};
  }

  const bool fine_;
  const std::filesystem::path folder_;
};

}  // namespace

KD_REGISTER(kd::DataSet, "cifar100", Cifar100, "photographs: 50000 + 10000 colour images of 32x32, 100 or 20 classes")
