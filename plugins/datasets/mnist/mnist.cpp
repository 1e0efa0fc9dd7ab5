// MNIST: 28×28 grey images of handwritten digits (LeCun, Bottou, Bengio and Haffner, 1998).
#include "idx.h"
#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

class Mnist final : public kd::DataSet {
 public:
  using Params = kd::NoParameters;

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
