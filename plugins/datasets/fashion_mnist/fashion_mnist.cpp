// Fashion-MNIST: 28×28 grey images of clothes (Xiao, Rasul and Vollgraf, arXiv 1708.07747).
//   data = { type = "fashion_mnist" }
#include "../mnist/idx.h"
#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

class FashionMnist final : public kd::DataSet {
 public:
  using Params = kd::NoParameters;

  static kd::DataSource source() {
    return idx::source(
        "fashion-mnist", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {{"train-images-idx3-ubyte", "", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
         {"train-labels-idx1-ubyte", "", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"},
         {"t10k-images-idx3-ubyte", "", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
         {"t10k-labels-idx1-ubyte", "", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}});
  }

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
