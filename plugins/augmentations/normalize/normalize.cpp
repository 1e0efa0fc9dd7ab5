// Subtracts the mean and divides by the standard deviation, per channel.
//   augment = [{ type = "normalize" }]
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <mutex>

#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

class Normalize final : public kd::Augmentation {
 public:
  struct Params {
    std::vector<double> mean, deviation;

    static void schema(kd::Schema<Params>& s) {
      s.field("mean", &Params::mean, "per channel, of pixels in [0, 1]; []: the data set's").def(std::vector<double>{});
      s.field("deviation", &Params::deviation, "per channel, of pixels in [0, 1], above 0; []: the data set's")
          .def(std::vector<double>{});
    }
  };

  Normalize(const Params& params, const Context& context) {
    const std::vector<double> mean = chosen("mean", params.mean, context.data.mean, context.data.channels);
    const std::vector<double> deviation =
        chosen("deviation", params.deviation, context.data.deviation, context.data.channels);
    if (std::any_of(deviation.begin(), deviation.end(), [](double value) { return !(value > 0); })) {
      throw kd::RecipeError("every deviation must be above 0");
    }
    std::vector<double> shift;
    for (std::size_t c = 0; c < mean.size(); ++c) shift.push_back(-mean[c] / deviation[c]);
    const at::Tensor scale = at::tensor(deviation).view({1, -1, 1, 1}).reciprocal();
    constants_ = {scale.to(at::kFloat), (scale / 255).to(at::kFloat),
                  at::tensor(shift).view({1, -1, 1, 1}).to(at::kFloat)};
  }

  void apply(kd::Batch& batch, kd::RandomKey /*key*/) const override {
    const Constants constants = constants_on(batch.images.device());
    batch.change_images([&](const at::Tensor& images) { return normalized(images, constants); });
  }

  std::int64_t views() const override { return 1; }
  bool at_evaluation() const override { return true; }

 private:
  struct Constants {
    at::Tensor scale, byte_scale, shift;  ///< 1×C×1×1, float
  };

  static std::vector<double> chosen(const std::string& name, const std::vector<double>& given,
                                    const std::vector<double>& of_data, std::int64_t channels) {
    const std::vector<double>& values = given.empty() ? of_data : given;
    if (static_cast<std::int64_t>(values.size()) != channels) {
      throw kd::RecipeError(name + " has " + std::to_string(values.size()) + " numbers, and the images have " +
                            std::to_string(channels) + " channels");
    }
    return values;
  }

  /// x · scale + shift; the first pass also converts the images to float.
  static at::Tensor normalized(const at::Tensor& images, const Constants& constants) {
    const bool bytes = images.scalar_type() == at::kByte;
    return (images * (bytes ? constants.byte_scale : constants.scale)).add_(constants.shift);
  }

  /// Copied to a device when it is first seen, since a copy in every step would wait for it.
  Constants constants_on(const at::Device& device) const {
    const std::lock_guard lock(mutex_);
    if (constants_.scale.device() != device) {
      constants_ = {constants_.scale.to(device), constants_.byte_scale.to(device), constants_.shift.to(device)};
    }
    return constants_;
  }

  mutable std::mutex mutex_;
  mutable Constants constants_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "normalize", Normalize, "subtracts the mean and divides by the deviation, per channel")
