// Features weighed by the teacher's gradient: Hsu, Smith, Shen, Kira and Jin, "A Closer Look at Knowledge Distillation
// with Features, Logits, and Gradients", 2022, arXiv 2203.10163. To second order KL(q‖p) at T = 1 is ½·Δᵀ·F·Δ with Δ =
// f_s − f_t and F = Σ_c q_c·g_c·g_cᵀ, where g_c is the gradient of ln q_c by the teacher's feature: the mean of that
// with F's diagonal, or with all of F. Of logits as the feature this is the loss "fisher_logits".
//   losses = [{ type = "cross_entropy" }, { type = "fisher_features", weight = 1.0, taps = ["pooled"] }]
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "../shared/to_teacher.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Form { kDiagonal, kFull };

/// What the teacher's probable classes would have of its feature.
struct Gradients {
  at::Tensor of_classes;     ///< N×K×feature: T·∂ ln q_c / ∂f
  at::Tensor probabilities;  ///< N×K: q_c
};

class FisherFeatures final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Hsu et al., 2022, arXiv 2203.10163", .weight = "1.0"};

  struct Params : kd::TapParams {
    Form form = Form::kDiagonal;
    double temperature = 1;
    std::int64_t classes = 0;
    bool normalize = false;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"pooled"});
      s.choice("form", &Params::form, {{"diagonal", Form::kDiagonal}, {"full", Form::kFull}},
               "a weight for each number of the feature, or Fisher's whole matrix, which does not see what the "
               "teacher's answer does not depend on")
          .def("diagonal");
      s.field("temperature", &Params::temperature, "divides the teacher's logits in q").def(1.0).above(0);
      s.field(
           "classes", &Params::classes,
           "how many of each sample's most probable classes are asked for their gradient; 0: all. The teacher's head "
           "answers as many copies of the feature")
          .def(0)
          .at_least(0);
      s.field("normalize", &Params::normalize,
              "whether each sample's weights are divided by their mean, so that their pattern counts alone: where a "
              "teacher is sure, all are near 0")
          .def(false);
    }
  };

  FisherFeatures(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kAny), to_teacher_(taps_) {
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      if (taps_.student_shape(i).size() == taps_.teacher_shape(i).size()) continue;
      throw kd::RecipeError("'" + params.taps[i] + "' of the student and '" + taps_.teacher_name(i) +
                            "' of the teacher are a map and a vector");
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return to_teacher_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    if (input.teacher().network == nullptr)
      throw kd::Error("this loss asks one teacher's head, and these are answers of several put together");
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const at::Tensor teacher = taps_.teacher(input, i);
      at::Tensor student = to_teacher_(i, taps_.student(input, i)), target = teacher;
      Gradients gradients = gradients_at(input.teacher(), teacher, taps_.teacher_name(i));
      if (student.dim() == 4) {
        std::tie(student, target) = kd::at_common_size(student, teacher);
        gradients.of_classes = by_means(gradients.of_classes, target);
      }
      const at::Tensor difference = (kd::precise(student) - kd::precise(target)).flatten(1);
      terms.push_back(distances(difference, gradients).mean() * 0.5);
    }
    return at::stack(terms).sum();
  }

 private:
  Gradients gradients_at(const kd::Outputs& teacher, const at::Tensor& feature, const std::string& tap) const {
    const at::Tensor q = at::softmax(kd::precise(teacher.logits.detach()) / params_.temperature, 1);
    const std::int64_t asked = params_.classes == 0 ? q.size(1) : std::min(params_.classes, q.size(1));
    const auto [probabilities, classes] = q.topk(asked, 1);
    // One copy of a sample for each class, so that one backward pass gives the gradients of all.
    const at::Tensor copies = kd::precise(feature.detach()).repeat_interleave(asked, 0);
    const c10::AutoGradMode with_gradient(true);
    const kd::WithoutAutocast exact(copies.device());
    const at::Tensor leaf = copies.requires_grad_(true);
    const at::Tensor logits = kd::precise(teacher.network->head(leaf, tap)) / params_.temperature;
    const at::Tensor log_q = at::log_softmax(logits, 1).gather(1, classes.reshape({-1, 1}));
    const at::Tensor gradient = torch::autograd::grad({log_q.sum() * params_.temperature}, {leaf})[0];
    std::vector<std::int64_t> shape = feature.sizes().vec();
    shape.insert(shape.begin() + 1, asked);
    return {gradient.detach().view(shape), probabilities};
  }

  /// Gradients by the means over regions of a map, as large as `target`: each is the sum over its region.
  static at::Tensor by_means(const at::Tensor& gradients, const at::Tensor& target) {
    const std::int64_t places = gradients.size(3) * gradients.size(4), regions = target.size(2) * target.size(3);
    const at::Tensor pooled = kd::pooled_to(gradients.flatten(0, 1), target.size(2), target.size(3));
    return (pooled * (static_cast<double>(places) / static_cast<double>(regions)))
        .view({gradients.size(0), gradients.size(1), gradients.size(2), target.size(2), target.size(3)});
  }

  /// Δᵀ·F·Δ of each sample; `difference` is N×D.
  at::Tensor distances(const at::Tensor& difference, const Gradients& given) const {
    const at::Tensor gradients = given.of_classes.flatten(2), q = given.probabilities.to(gradients.scalar_type());
    const bool wants_weights = params_.form == Form::kDiagonal || params_.normalize;
    const at::Tensor weights = wants_weights ? (gradients.square() * q.unsqueeze(2)).sum(1) : at::Tensor();
    const at::Tensor rows = params_.form == Form::kDiagonal
                                ? (weights * difference.square()).sum(1)
                                : ((gradients * difference.unsqueeze(1)).sum(2).square() * q).sum(1);
    constexpr double kLeastWeight = 1e-12;
    return params_.normalize ? rows / weights.mean(1).clamp_min(kLeastWeight) : rows;
  }

  const Params params_;
  const kd::TapPairs taps_;
  const to_teacher::Layers to_teacher_;
};

}  // namespace

KD_REGISTER(kd::Loss, "fisher_features", FisherFeatures,
            "squared difference of features, weighed by the Fisher information that the teacher's answer has of them")
