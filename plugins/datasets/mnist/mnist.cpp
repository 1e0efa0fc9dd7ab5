// MNIST: 28×28 grey images of handwritten digits (LeCun, Bottou, Bengio and Haffner, 1998).
//   data = { type = "mnist" }
#include "idx.h"
#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

class Mnist final : public kd::DataSet {
 public:
  using Params = kd::NoParameters;

  /// The mirror that torchvision uses too: the authors' own server does not answer reliably.
  static kd::DataSource source() {
    return idx::source("mnist", "https://ossci-datasets.s3.amazonaws.com/mnist/",
                       {{"train-images-idx3-ubyte", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                         "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
                        {"train-labels-idx1-ubyte", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                         "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
                        {"t10k-images-idx3-ubyte", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                         "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
                        {"t10k-labels-idx1-ubyte", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                         "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}});
  }

  Mnist(const Params&, const Context& context) : root_(context.root) {}

  kd::DataInfo info() const override {
    return {.channels = 1,
            .height = idx::kSide,
            .width = idx::kSide,
            .class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
            .mean = {0.1307},
            .deviation = {0.3081}};
  }

  kd::ImageSet load(kd::Split split) const override { return idx::load(root_ / "mnist", "mnist", split); }

 private:
  const std::filesystem::path root_;
};

}  // namespace

KD_REGISTER(kd::DataSet, "mnist", Mnist, "handwritten digits: 60000 + 10000 grey images of 28x28, 10 classes")
