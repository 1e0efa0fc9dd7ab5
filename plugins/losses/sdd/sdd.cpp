// Scale decoupled distillation: Luo, "Scale Decoupled Distillation", CVPR 2024, arXiv 2403.13512. The last maps of both
// networks are averaged over 1×1, 2×2 and 4×4 regions, and each network's own head answers to every region: T²·KL(q‖p),
// or the decoupled form of dkd, the mean over samples and regions. Where the teacher's answer to the whole image and
// that to a region differ in being right, the region counts twice. Heads that normalise do so once more for a student
// in training.
//   losses = [{ type = "cross_entropy" }, { type = "sdd", scales = [1, 2, 4], form = "dkd", beta = 8.0 }]
#include "../shared/decoupled.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/temperature.h"
#include "kd/tensor.h"
#include "kd/warmup.h"

namespace {

enum class Form { kKd, kDkd };

class ScaleDecoupled final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Luo, CVPR 2024, arXiv 2403.13512",
      .weight = "1.0",
      .result = "CIFAR-100, resnet32x4 → ShuffleNetV1, scales 1, 2 and 4, with dkd"};

  struct Params : kd::TapParams, kd::TemperatureParams {
    std::vector<std::int64_t> scales;
    Form form = Form::kDkd;
    double alpha = 1, beta = 8;
    std::int64_t warmup = 20;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage3"});
      s.field("scales", &Params::scales, "the map is averaged over n×n regions for each n; 1 is the whole image")
          .def(std::vector<std::int64_t>{1, 2, 4})
          .at_least(1);
      s.choice("form", &Params::form, {{"dkd", Form::kDkd}, {"kd", Form::kKd}}, "what compares the answers").def("dkd");
      kd::declare_temperature(s).def(4.0);
      s.field("alpha", &Params::alpha, "factor of the label's part of dkd").def(1.0).at_least(0);
      s.field("beta", &Params::beta, "factor of the other classes' part of dkd").def(8.0).at_least(0);
      kd::declare_warmup(s, &Params::warmup).def(20).at_least(0);
    }
  };

  ScaleDecoupled(const Params& params, const Context& context)
      : params_(params), temperature_(params), taps_(params, context, kd::TapPairs::kMaps) {
    if (taps_.size() != 1) throw kd::RecipeError("a network has one head: taps names the last map before it alone");
    if (params.scales.empty() || params.scales.front() != 1)
      throw kd::RecipeError("scales begins with 1, the whole image, which the regions are compared with");
    student_tap_ = params.taps.front();
  }

  kd::LossNeeds needs() const override {
    kd::LossNeeds needs = taps_.needs();
    needs.one_label = true;
    return needs;
  }
  bool labelled_rows_only() const override { return true; }
  bool recordable() const override { return temperature_.constant(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor& labels = input.batch.targets.labels;
    const at::Tensor student = answers(input.student, taps_.student(input, 0), student_tap_);
    const at::Tensor teacher = answers(input.teacher(), taps_.teacher(input, 0), taps_.teacher_name(0)).detach();
    const std::int64_t regions = student.size(0) / labels.size(0);
    const at::Tensor all_labels = labels.repeat({regions});
    const at::Tensor is_right = teacher.argmax(1) == all_labels;
    const at::Tensor whole_is_right = is_right.narrow(0, 0, labels.size(0)).repeat({regions});
    const at::Tensor weight = (is_right != whole_is_right).to(student.scalar_type()) + 1;
    const at::Tensor rows =
        (divergences(temperature_.at({student, teacher}, input.time), all_labels) * weight).view({regions, -1}).mean(0);
    return kd::labelled_mean(rows, input.batch.targets) * kd::warmup_factor(params_.warmup, input.time);
  }

 private:
  /// Of every region of every scale: rows of the whole images first.
  at::Tensor answers(const kd::Outputs& outputs, const at::Tensor& map, const std::string& tap) const {
    if (outputs.network == nullptr)
      throw kd::Error("this loss asks one network's head, and these are answers of several put together");
    std::vector<at::Tensor> regions;
    for (const std::int64_t n : params_.scales) {
      const at::Tensor pooled = at::adaptive_avg_pool2d(map, {n, n});
      // (n·n)·N rows, region by region
      regions.push_back(pooled.permute({2, 3, 0, 1}).reshape({n * n * map.size(0), map.size(1), 1, 1}));
    }
    return kd::precise(outputs.network->head(at::cat(regions), tap));
  }

  at::Tensor divergences(const kd::Softened& z, const at::Tensor& labels) const {
    if (params_.form == Form::kKd) return z.weighted(kd::row_divergences(z.log_teacher(), z.log_student()));
    return decoupled::row_divergences(z, labels, params_.alpha, params_.beta);
  }

  const Params params_;
  const kd::Temperature temperature_;
  const kd::TapPairs taps_;
  std::string student_tap_;
};

}  // namespace

KD_REGISTER(kd::Loss, "sdd", ScaleDecoupled,
            "what both networks' heads answer to regions of the image at several scales (scale decoupled distillation)")
