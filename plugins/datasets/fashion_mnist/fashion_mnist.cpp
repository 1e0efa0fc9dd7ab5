// Fashion-MNIST: 28×28 grey images of clothes (Xiao, Rasul and Vollgraf, arXiv 1708.07747).
#include "../mnist/idx.h"
#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

class FashionMnist final : public kd::DataSet {
 public:
  using Params = kd::NoParameters;

  FashionMnist(const Params&, const Context& context) : root_(context.root) {}

  kd::DataInfo info() const override {
    return {.channels = 1,
            .height = idx::kSide,
            .width = idx::kSide,
            .class_names = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                            "Ankle boot"},
            .mean = {0.2860},
            .deviation = {0.3530}};
  }

  kd::ImageSet load(kd::Split split) const override {
    return idx::load(root_ / "fashion-mnist", "fashion_mnist", split);
  }

 private:
  const std::filesystem::path root_;
};

}  // namespace

KD_REGISTER(kd::DataSet, "fashion_mnist", FashionMnist, "clothes: 60000 + 10000 grey images of 28x28, 10 classes")
