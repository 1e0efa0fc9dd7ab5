// Channel-wise distillation: Shu, Liu, Gao, Yan and Shen, ICCV 2021, arXiv 2011.13256. Each channel of a map, softened
// over its places by T, is a distribution: T²·KL(teacher‖student), the mean over samples and channels. Where the
// channels differ a learned 1×1 convolution brings the student's to the teacher's, as in the paper. Published for dense
// prediction, with weight 50 on features; nothing is published for these data sets.
//   losses = [{ type = "cross_entropy" }, { type = "cwd", weight = 50.0, temperature = 4.0 }]
#include "../shared/to_teacher.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

class ChannelWise final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Shu et al., ICCV 2021, arXiv 2011.13256", .weight = "50.0"};

  struct Params : kd::TapParams {
    double temperature = 4;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage3"});
      s.field("temperature", &Params::temperature, "T; divides the maps, and the value is multiplied by T²")
          .def(4.0)
          .above(0);
    }
  };

  ChannelWise(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kMaps), to_teacher_(taps_) {}

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return to_teacher_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] =
          kd::at_common_size(to_teacher_(i, taps_.student(input, i)), taps_.teacher(input, i));
      terms.push_back(kd::row_divergences(over_places(teacher), over_places(student)).mean());
    }
    return at::stack(terms).sum() * (params_.temperature * params_.temperature);
  }

 private:
  /// Log-softmax of each channel: (N·C)×(H·W).
  at::Tensor over_places(const at::Tensor& map) const {
    return kd::log_softmax_at(kd::precise(map).flatten(2).flatten(0, 1), params_.temperature);
  }

  const Params params_;
  const kd::TapPairs taps_;
  const to_teacher::Layers to_teacher_;
};

}  // namespace

KD_REGISTER(kd::Loss, "cwd", ChannelWise,
            "where each channel of a map responds, student's against teacher's (channel-wise distillation)")
