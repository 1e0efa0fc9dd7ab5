// What a teacher sees and people do not: the student learns its answers to images without some of their frequencies and
// to images that fool it (Liang et al., "Exploring Inconsistent Knowledge Distillation for Object Detection with Data
// Augmentation", ACM MM 2023, arXiv 2209.09841; here for classification). The attack is DI-FGSM (Xie et al., CVPR
// 2019).
//   scheme = { type = "inconsistent_kd", epsilon = 0.0314, stop_epoch = 16 }
#include <ATen/ops/fft_fftfreq.h>
#include <ATen/ops/fft_irfft2.h>
#include <ATen/ops/fft_rfft2.h>
#include <ATen/ops/fft_rfftfreq.h>
#include <ATen/ops/hypot.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "../shared/adversarial.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/scheme.h"

namespace {

/// How much of each frequency the view of a sample keeps; every sample has a side, a cut and a strength of its own.
struct FrequencySettings {
  double low_pass_share = 0.5;  ///< probability that the high frequencies go, and not the low ones
  double lowest_cut = 0.1, highest_cut = 0.6, strength = 1;
};

/// The images with the frequencies on one side of a cut weakened. `draws`, N×3, in [0, 1): side, cut and strength. The
/// frequency of a mode is its distance from the constant, 1 at the highest frequency along an axis; the mean stays.
at::Tensor filter_frequencies(const at::Tensor& images, const at::Tensor& draws, const FrequencySettings& settings) {
  const std::int64_t height = images.size(2), width = images.size(3);
  const at::TensorOptions options = images.options().memory_format(c10::nullopt);
  // With a spacing of 0.5 the highest frequency of an axis is 1.
  const at::Tensor rows = at::fft_fftfreq(height, 0.5, options), columns = at::fft_rfftfreq(width, 0.5, options);
  const at::Tensor frequency = at::hypot(rows.unsqueeze(1), columns);  // H×(W/2+1)
  const auto lane = [&](std::int64_t i) { return draws.narrow(1, i, 1).view({-1, 1, 1}); };
  const at::Tensor low_pass = lane(0) < settings.low_pass_share;
  const at::Tensor cut = settings.lowest_cut + lane(1) * (settings.highest_cut - settings.lowest_cut);
  const at::Tensor weakened = at::logical_and((frequency > cut) == low_pass, frequency > 0);
  const at::Tensor gain = 1 - weakened * (lane(2) * settings.strength);
  const at::Tensor spectrum = at::fft_rfft2(images.contiguous()) * gain.unsqueeze(1);
  return at::fft_irfft2(spectrum, at::IntArrayRef{height, width});
}

class InconsistentKd final : public kd::Scheme {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses;
    kd::Scheduled frequency_weight, adversarial_weight;
    double stop_epoch = 16;
    double low_pass_share = 0.5, lowest_cut = 0.1, highest_cut = 0.6, strength = 1;
    double epsilon = 8.0 / 255, step = 2.0 / 255;
    std::int64_t steps = 5;
    double decay = 1, resize_rate = 0.9, diversity = 0.5;
    std::vector<double> mean, deviation;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss",
                   "on the images; those that compare with the teacher also on the views, each in a pass of its own")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy', weight = 0.1 }, { type = 'kd', temperature = 4, weight = 0.9 }]");
      s.field("frequency_weight", &Params::frequency_weight,
              "factor of the losses on the view without some of its frequencies: a number or a schedule; 0: no such "
              "view")
          .def(1.0);
      s.field("adversarial_weight", &Params::adversarial_weight,
              "factor of the losses on the view that fools the teacher: a number or a schedule; 0: no such view")
          .def(1.0);
      s.field("stop_epoch", &Params::stop_epoch,
              "from this epoch on there are no views; 0: always (published: 16 of 24)")
          .def(16.0)
          .at_least(0);
      s.field("low_pass_share", &Params::low_pass_share,
              "probability that a sample loses its high frequencies, and not its low ones")
          .def(0.5)
          .range(0, 1);
      s.field("lowest_cut", &Params::lowest_cut,
              "each sample has a cut from here to highest_cut; 1 is the highest frequency along an axis")
          .def(0.1)
          .range(0, 1.5);
      s.field("highest_cut", &Params::highest_cut, "see lowest_cut").def(0.6).range(0, 1.5);
      s.field("strength", &Params::strength,
              "each sample loses a share of these frequencies between 0 and this; its mean stays")
          .def(1.0)
          .range(0, 1);
      s.field("epsilon", &Params::epsilon, "of DI-FGSM: how far a pixel in [0, 1] may move").def(8.0 / 255).above(0);
      s.field("step", &Params::step, "of DI-FGSM, in the same units").def(2.0 / 255).above(0);
      s.field("steps", &Params::steps, "of DI-FGSM").def(5).at_least(1);
      s.field("decay", &Params::decay, "of the momentum of DI-FGSM (the authors' code: 1)").def(1.0).at_least(0);
      s.field("resize_rate", &Params::resize_rate,
              "input diversity: images shrink to a size from this share of theirs on; 1: never")
          .def(0.9)
          .above(0)
          .at_most(1);
      s.field("diversity", &Params::diversity, "probability that an image shrinks in a step").def(0.5).range(0, 1);
      s.field("mean", &Params::mean, "that the images were normalised with, per channel or one; []: the data set's")
          .def(std::vector<double>{});
      s.field("deviation", &Params::deviation, "the same").def(std::vector<double>{});
    }
  };

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = 1}; }

  explicit InconsistentKd(const Params& params)
      : params_(params), frequency_weight_(params.frequency_weight), adversarial_weight_(params.adversarial_weight) {
    if (params_.lowest_cut > params_.highest_cut) {
      throw kd::RecipeError("inconsistent_kd: lowest_cut must not be above highest_cut");
    }
  }

  void setup(kd::StageContext& context) override {
    range_ = adversarial::pixel_range(params_.mean, params_.deviation, context.data());
    teachers_.emplace(context);
    teacher_ = context.teachers().front();
    kd::Network& student = *context.networks().front();
    objective_.emplace(params_.losses, context, student);
    const kd::LossNeeds& needs = objective_->needs();
    if (!needs.teacher) {
      throw kd::RecipeError("inconsistent_kd wants a loss that compares with the teacher, such as 'kd', for its views");
    }
    if (!needs.views.empty()) {
      throw kd::RecipeError("inconsistent_kd makes its own views and takes no loss that wants the view '" +
                            needs.views.front().name + "'");
    }
    // The attack moves away from one label.
    context.require({.teacher = true, .one_label = true}, student);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    if (range_.low.device() != batch.images.device()) range_ = adversarial::to_device(range_, batch.images.device());
    const std::vector<kd::Outputs> teachers = teachers_->outputs(batch, objective_->needs().teacher_taps);
    const kd::ScheduleTime time = updater.time();
    const bool views = params_.stop_epoch == 0 || time.epoch() < params_.stop_epoch;
    std::vector<kd::Term> terms;
    const auto add_view = [&](const char* name, double weight, const auto& make) {
      if (!views || weight == 0) return;
      for (kd::Term& term : terms_on_view(make(), batch, updater)) {
        term.name = name + ("_" + term.name);
        term.weight *= weight;
        terms.push_back(std::move(term));
      }
    };
    // Before the images themselves, which so count most in the running statistics of batch norm.
    add_view("frequency", frequency_weight_.at(time), [&] { return without_frequencies(batch, updater); });
    add_view("adversarial", adversarial_weight_.at(time),
             [&] { return attacked(batch, teachers.front().logits, updater); });
    const kd::Pass pass = kd::forward(objective_->network(), objective_->needs(), batch);
    std::vector<kd::Term> all = objective_->losses()(kd::loss_input(pass, batch, teachers, updater));
    std::move(terms.begin(), terms.end(), std::back_inserter(all));
    updater.update(objective_->network(), all, {.logits = pass.outputs.logits, .targets = batch.targets});
  }

 private:
  std::vector<kd::Term> terms_on_view(const at::Tensor& images, const kd::Batch& batch, kd::Updater& updater) const {
    kd::Batch seen = batch;
    seen.images = images;
    const kd::Pass pass = kd::forward(objective_->network(), objective_->needs(), seen);
    const std::vector<kd::Outputs> answers = teachers_->forward(images, objective_->needs().teacher_taps);
    return objective_->losses().from_teachers(kd::loss_input(pass, seen, answers, updater));
  }

  at::Tensor without_frequencies(const kd::Batch& batch, const kd::Updater& updater) const {
    const at::Tensor draws = kd::random_uniform(updater.epoch_key().with("frequency"), batch.index, 3);
    const at::Tensor view = filter_frequencies(batch.images, draws,
                                               {.low_pass_share = params_.low_pass_share,
                                                .lowest_cut = params_.lowest_cut,
                                                .highest_cut = params_.highest_cut,
                                                .strength = params_.strength});
    return view.clamp(range_.low, range_.high);
  }

  /// Away from the label, or from what the teacher answers where there is none.
  at::Tensor attacked(const kd::Batch& batch, const at::Tensor& answers, const kd::Updater& updater) const {
    const at::Tensor& labels = batch.targets.labels;
    const at::Tensor from = at::where(labels == kd::kUnlabelled, answers.detach().argmax(1), labels);
    const adversarial::LogitsOf logits_of = [&](const at::Tensor& images) {
      return teacher_->forward(images, {}, kd::Gradient::kToImages).logits;
    };
    const kd::RandomKey key = updater.key().with("input diversity");
    return adversarial::move_uphill(
        logits_of, batch.images, from, range_,
        {.steps = params_.steps, .epsilon = params_.epsilon, .step = params_.step, .decay = params_.decay},
        [&](const at::Tensor& images, std::int64_t i) {
          return diversified(images, batch.index, key.with(static_cast<std::uint64_t>(i)));
        });
  }

  /// A share of the images, smaller: all of one size and at one place.
  at::Tensor diversified(const at::Tensor& images, const at::Tensor& index, kd::RandomKey key) const {
    const std::int64_t height = images.size(2), width = images.size(3);
    const auto smallest = [&](std::int64_t size) {
      return std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(size) * params_.resize_rate));
    };
    const std::int64_t spare = width - smallest(width);
    if (spare == 0 || params_.diversity == 0) return images;
    const auto draw = [&](const char* of, std::int64_t count) {
      return count < 1 ? 0 : std::int64_t{kd::random_below(key.with(of), 0, static_cast<std::uint32_t>(count))};
    };
    adversarial::Placement placement;
    placement.width = smallest(width) + draw("size", spare);
    placement.height = std::max<std::int64_t>(1, placement.width * height / width);
    placement.top = draw("top", height - placement.height);
    placement.left = draw("left", width - placement.width);
    const at::Tensor chosen = kd::random_uniform(key.with("whether"), index, 1) < params_.diversity;
    return at::where(adversarial::per_image(chosen), adversarial::shrink(images, placement), images);
  }

  const Params params_;
  const kd::ScheduledValue frequency_weight_, adversarial_weight_;
  adversarial::PixelRange range_;
  std::optional<kd::Teachers> teachers_;
  std::optional<kd::Objective> objective_;
  kd::Teacher* teacher_ = nullptr;
};

}  // namespace

KD_REGISTER(kd::Scheme, "inconsistent_kd", InconsistentKd,
            "the student also learns the teacher's answers to images without some frequencies and to images that fool "
            "it (Liang et al., 2023)")
