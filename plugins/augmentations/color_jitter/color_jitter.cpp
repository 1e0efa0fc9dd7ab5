// Random changes of brightness, contrast, saturation and hue, as torchvision's ColorJitter on float images.
//   augment = [{ type = "color_jitter", brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 }]
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "jitter.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

/// In the order of the parameters; the order on an image is random.
enum Change : std::int64_t { kBrightness, kContrast, kSaturation, kHue, kChanges };

class ColorJitter final : public kd::Augmentation {
 public:
  struct Params {
    double brightness = 0, contrast = 0, saturation = 0, hue = 0;

    static void schema(kd::Schema<Params>& s) {
      const auto factor = [&](const char* name, double Params::* member, const std::string& of_what) {
        s.field(name, member, of_what + " is multiplied by a factor uniform from max(0, 1 − this) to 1 + this")
            .def(0.0)
            .at_least(0);
      };
      factor("brightness", &Params::brightness, "the brightness");
      factor("contrast", &Params::contrast, "the distance to the mean grey of the image");
      factor("saturation", &Params::saturation, "the distance to the grey image");
      s.field("hue", &Params::hue, "the hue is turned by an angle uniform from −this to this, in turns")
          .def(0.0)
          .range(0, 0.5);
    }
  };

  explicit ColorJitter(const Params& params) : params_(params) {}

  bool expects_pixels() const override { return true; }
  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    if (batch.images.size(1) != 3) throw kd::Error("color_jitter works on images of 3 channels");
    const at::Tensor amounts = draw_amounts(batch.index, key);
    const at::Tensor order = kd::random_uniform(key.with("order"), batch.index, kChanges).argsort(std::int64_t{1});
    batch.change_images([&](const at::Tensor& given) {
      at::Tensor images = kd::to_float(given);
      for (std::int64_t place = 0; place < kChanges; ++place) {
        images = changed(images, order.select(1, place), amounts.gather(1, order.narrow(1, place, 1)));
      }
      return images;
    });
  }

 private:
  /// The factors and the angle of each sample, N×kChanges.
  at::Tensor draw_amounts(const at::Tensor& index, kd::RandomKey key) const {
    const at::Tensor amounts = kd::random_uniform(key.with("amounts"), index, kChanges);
    const auto spread = [&](Change change, double low, double high) {
      amounts.select(1, change).mul_(high - low).add_(low);
    };
    spread(kBrightness, std::max(0.0, 1 - params_.brightness), 1 + params_.brightness);
    spread(kContrast, std::max(0.0, 1 - params_.contrast), 1 + params_.contrast);
    spread(kSaturation, std::max(0.0, 1 - params_.saturation), 1 + params_.saturation);
    spread(kHue, -params_.hue, params_.hue);
    return amounts;
  }

  /// Makes one change per sample (int64, N) by its amount (float, N×1).
  at::Tensor changed(const at::Tensor& images, const at::Tensor& change, const at::Tensor& amount) const {
    const at::Tensor of_image = amount.view({-1, 1, 1, 1});
    const auto is = [&](Change one) { return change.eq(one).view({-1, 1, 1, 1}); };
    const at::Tensor grey = jitter::grey(images);
    at::Tensor base = at::where(is(kSaturation), grey, at::zeros_like(grey));
    base = at::where(is(kContrast), grey.mean({1, 2, 3}, /*keepdim=*/true), base);
    const at::Tensor blended = jitter::blend(images, base, of_image);
    if (params_.hue == 0) return at::where(is(kHue), images, blended);
    return at::where(is(kHue), jitter::turn_hue(images, of_image), blended);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "color_jitter", ColorJitter,
            "random brightness, contrast, saturation and hue, in random order, before 'normalize' (torchvision)")
