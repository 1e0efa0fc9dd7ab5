// Synthetic images of shapes, drawn from a seed: a data set for tests and demonstrations that needs no file.
//   data = { type = "glyphs", like = "mnist", train = 10000, test = 2000 }
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "glyph.h"
#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

enum class Like { kMnist, kCifar10, kCifar100 };

class Glyphs final : public kd::DataSet {
 public:
  struct Params {
    Like like = Like::kMnist;
    std::int64_t train = 0, test = 0, seed = 0;
    double difficulty = 0;

    static void schema(kd::Schema<Params>& s) {
      s.choice("like", &Params::like,
               {{"mnist", Like::kMnist}, {"cifar10", Like::kCifar10}, {"cifar100", Like::kCifar100}},
               "format and classes: mnist is 28x28 grey with 10, cifar10 and cifar100 are 32x32 colour with 10 and 100")
          .def("mnist");
      s.field("train", &Params::train, "count of training images").def(10'000).at_least(1);
      s.field("test", &Params::test, "count of test images").def(2'000).at_least(1);
      s.field("seed", &Params::seed, "draws other images of the same classes").def(0).at_least(0);
      s.field("difficulty", &Params::difficulty,
              "strength of distortions, clutter, occlusion and noise; 0 is a clean shape")
          .def(0.5)
          .range(0, 1);
    }
  };

  explicit Glyphs(const Params& params) : params_(params) {}

  // Mean and deviation are those of 20 000 images at the default difficulty.
  kd::DataInfo info() const override {
    const glyph::Format format = image_format();
    kd::DataInfo info;
    info.channels = format.channels;
    info.height = info.width = format.side;
    for (std::uint32_t i = 0; i < format.classes; ++i) info.class_names.push_back("glyph " + std::to_string(i));
    const bool grey = format.channels == 1;
    info.mean.assign(static_cast<std::size_t>(format.channels), grey ? 0.1256 : 0.501);
    info.deviation.assign(static_cast<std::size_t>(format.channels), grey ? 0.2287 : 0.289);
    return info;
  }

  kd::ImageSet load(kd::Split split) const override {
    const bool train = split == kd::Split::kTrain;
    const glyph::Format format = image_format();
    const kd::RandomKey key =
        kd::RandomKey{}.with("glyphs").with(static_cast<std::uint64_t>(params_.seed)).with(train ? "train" : "test");
    const glyph::Collection collection(format, static_cast<float>(params_.difficulty), key);
    const std::int64_t count = train ? params_.train : params_.test;
    kd::ImageSet set{.images = at::empty({count, format.channels, format.side, format.side}, at::kByte),
                     .labels = at::empty({count}, at::kLong)};
    std::uint8_t* images = set.images.mutable_data_ptr<std::uint8_t>();
    std::int64_t* labels = set.labels.mutable_data_ptr<std::int64_t>();
    constexpr std::int64_t kGrain = 64;
    at::parallel_for(0, count, kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto sample = static_cast<std::uint64_t>(i);
        labels[i] = collection.label(sample);
        collection.draw(sample, images + sample * format.bytes());
      }
    });
    return set;
  }

 private:
  glyph::Format image_format() const {
    switch (params_.like) {
      case Like::kCifar10:
        return {.side = 32, .channels = 3, .classes = 10};
      case Like::kCifar100:
        return {.side = 32, .channels = 3, .classes = 100};
      case Like::kMnist:
        break;
    }
    return {.side = 28, .channels = 1, .classes = 10};
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::DataSet, "glyphs", Glyphs, "synthetic shapes drawn from a seed, in the formats of MNIST and CIFAR")
