// Factor transfer: Kim, Park and Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS
// 2018, arXiv 1802.04977. In a stage of its own (`part = "paraphraser"`) an autoencoder learns the teacher's map: its
// mean square. In the student's stage (`part = "translator"`), which begins with `init = { stage = …, parts =
// ["adapter.ft.paraphraser"] }`, that stays as it is, and a translator brings the student's map to the factors that it
// gives: the mean absolute difference of the factors, each sample's over its length. RepDistiller takes the length of
// the mean square over the channels instead.
//   losses = [{ type = "cross_entropy" }, { type = "ft", weight = 200.0, part = "translator" }]
#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Part { kTranslator, kParaphraser };
enum class Form { kFactor, kChannelMean };

constexpr double kSlope = 0.1;

/// Three 3×3 convolutions, in → first → out → out.
void add_encoder(kd::Layers& layers, std::int64_t in, std::int64_t out, bool batch_norm) {
  const auto step = [&](std::int64_t from, std::int64_t to) {
    layers.convolution(from, to, {.kernel = 3, .padding = 1});
    if (batch_norm) layers.batch_norm(to);
    layers.relu(kSlope);
  };
  step(in, in);
  step(in, out);
  step(out, out);
}

class FactorTransfer final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Kim et al., NeurIPS 2018, arXiv 1802.04977",
      .weight = "200.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 72.86 % top-1 (RepDistiller, form \"channel_mean\")"};

  struct Params : kd::TapParams {
    Part part = Part::kTranslator;
    Form form = Form::kFactor;
    double rate = 0.5;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage3"});
      s.choice("part", &Params::part, {{"translator", Part::kTranslator}, {"paraphraser", Part::kParaphraser}},
               "what is trained: the student and its translator, or the teacher's paraphraser alone, with weight = 1")
          .def("translator");
      s.choice("form", &Params::form, {{"factor", Form::kFactor}, {"channel_mean", Form::kChannelMean}},
               "what is compared: the factors, as the paper has it, or their mean squares over the channels, as "
               "RepDistiller; over their length")
          .def("factor");
      s.field("rate", &Params::rate, "channels of the factor, as a share of the teacher's")
          .def(0.5)
          .above(0)
          .at_most(1);
    }
  };

  FactorTransfer(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kMaps) {
    if (taps_.size() != 1) throw kd::RecipeError("factor transfer compares one feature; taps names more");
    const std::int64_t student = taps_.student_shape(0)[0], teacher = taps_.teacher_shape(0)[0];
    const std::int64_t factor = std::max<std::int64_t>(1, static_cast<std::int64_t>(double(teacher) * params.rate));
    add_encoder(encoder_, teacher, factor, /*batch_norm=*/false);
    if (params.part == Part::kTranslator) {
      add_encoder(translator_, student, factor, /*batch_norm=*/true);
      return;
    }
    const kd::ConvolutionOptions same{.kernel = 3, .padding = 1};
    decoder_.transposed_convolution(factor, factor, same).relu(kSlope);
    decoder_.transposed_convolution(factor, teacher, same).relu(kSlope);
    decoder_.transposed_convolution(teacher, teacher, same).relu(kSlope);
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor map = taps_.teacher(input, 0);
    // The student of a paraphraser's stage learns nothing, and yet has a gradient, of 0.
    if (params_.part == Part::kParaphraser)
      return kd::mean_square(decoder_(encoder_(map)), map) + input.student.logits.sum() * 0;
    at::Tensor teacher;
    {
      const at::NoGradGuard no_gradient;
      teacher = encoder_(map);
    }
    const auto [a, b] = kd::at_common_size(translator_(taps_.student(input, 0)), teacher);
    return (normalised(a) - normalised(b)).abs().mean();
  }

 private:
  at::Tensor normalised(const at::Tensor& factor) const {
    const at::Tensor exact = kd::precise(factor);
    return kd::unit_rows(kd::flat(params_.form == Form::kFactor ? exact : exact.square().mean(1)));
  }

  const Params params_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  kd::Layers encoder_ = adapter_.layers("paraphraser"), decoder_ = adapter_.layers("decoder"),
             translator_ = adapter_.layers("translator");
};

}  // namespace

KD_REGISTER(kd::Loss, "ft", FactorTransfer,
            "factors of the student's map against those of a paraphraser of the teacher's (factor transfer)")
