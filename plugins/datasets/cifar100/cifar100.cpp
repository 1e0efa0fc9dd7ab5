// CIFAR-100: 32×32 colour images of 100 kinds of things in 20 groups (Krizhevsky, 2009), from its binary version.
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
