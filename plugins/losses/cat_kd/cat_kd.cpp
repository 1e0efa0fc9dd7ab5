// Class attention transfer: Guo, Yan, Li and Zhao, "Class Attention Transfer Based Knowledge Distillation", CVPR 2023,
// arXiv 2304.12777. A network's head at every place of its last map gives a map of each class; both networks' are
// averaged to a few places, with or without each brought to length 1: their mean square. Heads that normalise do so
// once more for the maps of a student in training.
//   losses = [{ type = "cross_entropy" }, { type = "cat_kd", weight = 15.0, resolution = 2, normalize = false }]
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

/// N×classes×H×W: what the head answers at each place of the map.
at::Tensor class_maps(const kd::Outputs& outputs, const at::Tensor& map, const std::string& tap) {
  if (outputs.network == nullptr)
    throw kd::Error("class attention asks one network's head, and these are answers of several put together");
  const std::int64_t samples = map.size(0), channels = map.size(1), height = map.size(2), width = map.size(3);
  const at::Tensor places = map.permute({0, 2, 3, 1}).reshape({samples * height * width, channels, 1, 1});
  const at::Tensor answers = kd::precise(outputs.network->head(places, tap));
  return answers.view({samples, height, width, -1}).permute({0, 3, 1, 2});
}

class ClassAttention final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Guo et al., CVPR 2023, arXiv 2304.12777",
      .weight = "15.0",
      .result =
          "CIFAR-100, resnet32x4 → resnet8x4 with this weight; resnet32x4 → ShuffleNets with 600, normalize = true "
          "and resolution = 4"};

  struct Params : kd::TapParams {
    std::int64_t resolution = 2;
    bool normalize = false;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage3"});
      s.field("resolution", &Params::resolution, "height and width that the maps are averaged to").def(2).at_least(1);
      s.field("normalize", &Params::normalize,
              "whether each class's map is brought to length 1: for networks of different families")
          .def(false);
    }
  };

  ClassAttention(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kMaps) {
    if (taps_.size() != 1) throw kd::RecipeError("a network has one head: taps names the last map before it alone");
    student_tap_ = params.taps.front();
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor student = scaled(class_maps(input.student, taps_.student(input, 0), student_tap_));
    const at::Tensor teacher = scaled(class_maps(input.teacher(), taps_.teacher(input, 0), taps_.teacher_name(0)));
    return (student - teacher.detach()).square().mean();
  }

 private:
  /// N·classes rows of places.
  at::Tensor scaled(const at::Tensor& maps) const {
    const at::Tensor rows =
        at::adaptive_avg_pool2d(maps, {params_.resolution, params_.resolution}).flatten(2).flatten(0, 1);
    return params_.normalize ? kd::unit_rows(rows) : rows;
  }

  const Params params_;
  const kd::TapPairs taps_;
  std::string student_tap_;
};

}  // namespace

KD_REGISTER(kd::Loss, "cat_kd", ClassAttention,
            "where each class is seen, by the student and by the teacher (class attention transfer)")
