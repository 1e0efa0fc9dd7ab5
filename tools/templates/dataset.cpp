// The data set "KD_NAME_HERE": drawn stripes, horizontal or vertical, 8x8 and grey.
// Say here what yours holds, and where its files come from.
#include "kd/dataset.h"

#include <ATen/ops/empty.h>

#include "kd/plugin.h"
#include "kd/random.h"

namespace {

constexpr std::int64_t kSide = 8;

class KdClassHere final : public kd::DataSet {
 public:
  // What recipes can set. Every parameter has its meaning, and a default unless the recipe must give it.
  struct Params {
    std::int64_t samples = 64;

    static void schema(kd::Schema<Params>& s) {
      s.field("samples", &Params::samples, "count of images in each split").def(64).at_least(1);
    }
  };

  // A data set made of files takes (const Params&, const Context& context) and reads below context.root.
  explicit KdClassHere(const Params& params) : params_(params) {}

  // Mean and deviation are those of the training set, per channel, of pixels in [0, 1].
  kd::DataInfo info() const override {
    return {.channels = 1,
            .height = kSide,
            .width = kSide,
            .class_names = {"horizontal", "vertical"},
            .mean = {0.5},
            .deviation = {0.5}};
  }

  // Both splits whole in memory. For files: kd::read_data_file(path, "what to do where it is missing").
  kd::ImageSet load(kd::Split split) const override {
    const kd::RandomKey key = kd::RandomKey{}.with(split == kd::Split::kTrain ? "train" : "test");
    kd::ImageSet set{.images = at::empty({params_.samples, 1, kSide, kSide}, at::kByte),
                     .labels = at::empty({params_.samples}, at::kLong)};
    for (std::int64_t i = 0; i < params_.samples; ++i) {
      const std::int64_t label = i % 2;
      set.labels.mutable_data_ptr<std::int64_t>()[i] = label;
      draw(label, kd::random_below(key, static_cast<std::uint64_t>(i), 4),
           set.images.mutable_data_ptr<std::uint8_t>() + i * kSide * kSide);
    }
    return set;
  }

 private:
  /// Stripes that are two pixels wide, moved by `phase`.
  static void draw(std::int64_t label, std::int64_t phase, std::uint8_t* pixels) {
    for (std::int64_t y = 0; y < kSide; ++y) {
      for (std::int64_t x = 0; x < kSide; ++x) {
        const std::int64_t across = label == 0 ? y : x;
        pixels[y * kSide + x] = (across + phase) / 2 % 2 == 0 ? 0 : 255;
      }
    }
  }

  const Params params_;
};

}  // namespace

// Recipes find the class under this name: [data] type = "KD_NAME_HERE".
KD_REGISTER(kd::DataSet, "KD_NAME_HERE", KdClassHere, "horizontal and vertical stripes")
