// Consistency of the predictions on an image and on other views of it: Hendrycks, Mu, Cubuk, Zoph, Gilmer and
// Lakshminarayanan, "AugMix", ICLR 2020, arXiv 1912.02781.
//   losses = [{ type = "jsd", views = ["augmix_1", "augmix_2"] }]
#include <set>

#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

class ConsistencyLoss final : public kd::Loss {
 public:
  struct Params {
    std::vector<std::string> views;

    static void schema(kd::Schema<Params>& s) {
      s.field("views", &Params::views, "names of the extra views, as the augmentations of the stage call them")
          .def(std::vector<std::string>{"augmix_1", "augmix_2"});
    }
  };

  explicit ConsistencyLoss(const Params& params) : params_(params) {
    if (params_.views.empty()) throw kd::Error("'views' must name at least one extra view");
    const std::set<std::string> different(params_.views.begin(), params_.views.end());
    if (different.size() != params_.views.size()) throw kd::Error("'views' names a view twice");
  }

  kd::LossNeeds needs() const override {
    kd::LossNeeds needs;
    for (const std::string& view : params_.views) needs.views.push_back({.name = view, .gradient = true});
    return needs;
  }

  bool recordable() const override { return true; }

  /// Mean over the views i, the image itself among them, of KL(p_i‖m), where m is the mean of the p_i.
  at::Tensor operator()(const kd::LossInput& input) override {
    const std::vector<at::Tensor> log_p = log_predictions(input);
    const auto count = static_cast<double>(log_p.size());
    at::Tensor sum = log_p.front().exp();
    for (std::size_t i = 1; i < log_p.size(); ++i) sum = sum + log_p[i].exp();
    constexpr double kLeast = 1e-7;  // as the released code
    const at::Tensor log_m = (sum / count).clamp(kLeast, 1).log();
    at::Tensor rows = kd::row_divergences(log_p.front(), log_m);
    for (std::size_t i = 1; i < log_p.size(); ++i) rows = rows + kd::row_divergences(log_p[i], log_m);
    return rows.mean() / count;
  }

 private:
  std::vector<at::Tensor> log_predictions(const kd::LossInput& input) const {
    std::vector<at::Tensor> all{at::log_softmax(kd::precise(input.student.logits), 1)};
    for (const std::string& view : params_.views) {
      all.push_back(at::log_softmax(kd::precise(input.view(view)), 1));
    }
    return all;
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(
    kd::Loss, "jsd", ConsistencyLoss,
    "Jensen–Shannon divergence of the student's predictions on an image and its extra views, in nats; published "
    "weight 12 (AugMix, Hendrycks et al., 2020)")
