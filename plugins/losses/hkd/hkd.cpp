// Holistic knowledge distillation: Zhou, Wang, Chen, Chen, Wang, Wang and Bu, "Distilling Holistic Knowledge with Graph
// Neural Networks", ICCV 2021, arXiv 2108.05507, as their released code computes it. Each network's vectors are
// embedded by a learned linear layer and have length 1; its embeddings of samples in a graph of nearest neighbours, by
// cosines of its own posteriors, are mixed by one graph convolution (TAGConv, hops 0 and 1). Of both kinds, each
// network's is contrasted (InfoNCE) with one positive of the other network, from a memory of the sample's embeddings,
// and with negatives of other classes from its own memory. The loss is the sum of the four. The
// released code draws the negatives of a sample without repeating one where there are enough; here they are
// independent.
//   losses = [{ type = "cross_entropy" }, { type = "hkd", weight = 3.0, negatives = 16384 }]
#include <cmath>

#include "../shared/sample_banks.h"
#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

/// What one network embeds with and remembers.
struct Side {
  kd::Layers embedding;
  at::Tensor graph_weight, graph_bias;  // width×2·width of a sample beside its neighbourhood, and width
  at::Tensor bank;                      // samples×width
};

/// What one network makes of a batch, and of it what the other network's is compared with.
struct Embedded {
  at::Tensor rows, graph;           // N×width; no graph of a batch with too few rows
  at::Tensor remembered, own_bank;  // the samples' vectors in the memory, and all of it, before this step
  at::Tensor remembered_graph;      // between the samples' vectors in the memory and `graph`
};

class HolisticKnowledge final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Zhou et al., ICCV 2021, arXiv 2108.05507",
      .weight = "3.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 75.63 % top-1, with KD 76.13 % (the paper's table 1)"};

  struct Params : kd::TapParams {
    std::int64_t width = 128, negatives = 16384, neighbours = 8;
    double temperature = 0.07, momentum = 0.9, smoothing = 0.75;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"pooled"});
      s.field("width", &Params::width, "of the embeddings").def(128).at_least(1);
      s.field("negatives", &Params::negatives,
              "K: samples of other classes that each is contrasted with; as many as there are samples where that is "
              "less")
          .def(16384)
          .at_least(1);
      s.field("neighbours", &Params::neighbours,
              "k: nearest samples of the batch, itself the first, that a sample's graph embedding is made of; a batch "
              "of fewer has no graph")
          .def(8)
          .at_least(1);
      s.field("temperature", &Params::temperature, "τ; divides the cosines").def(0.07).above(0);
      s.field("momentum", &Params::momentum, "share of a memory's old vector that is kept").def(0.9).range(0, 1);
      s.field("smoothing", &Params::smoothing,
              "share of the memory in the other network's graph embedding, where it is a positive")
          .def(0.75)
          .range(0, 1);
    }
  };

  HolisticKnowledge(const Params& params, const Context& context)
      : params_(params),
        samples_(context.samples),
        negatives_(std::min(params.negatives, context.samples)),
        group_(*context.group),
        taps_(params, context, kd::TapPairs::kVectors),
        student_(make_side("student", taps_.student_shape(0)[0], context.key)),
        teacher_(make_side("teacher", taps_.teacher_shape(0)[0], context.key)),
        by_class_(context, adapter_) {
    if (taps_.size() != 1) throw kd::RecipeError("holistic knowledge distillation compares one feature");
    // A sample's scores, of both networks, rows and graph, forward and backward.
    sample_banks::check_memory("hkd", context, params.width,
                               4.0 * (8.0 * double(samples_) + 16.0 * double(negatives_ + 1)));
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::WithoutAutocast exact(input.student.logits.device());
    const at::Tensor& index = input.batch.index;
    const Embedded student = embed(student_, taps_.student(input, 0), input.student.logits, index);
    const Embedded teacher = embed(teacher_, taps_.teacher(input, 0), input.teacher().logits, index);
    const at::Tensor negatives = by_class_.others(input.key.with("negatives"), index, negatives_);
    at::Tensor loss = contrast(student.rows, teacher.remembered, student.own_bank, negatives) +
                      contrast(teacher.rows, student.remembered, teacher.own_bank, negatives);
    if (student.graph.defined()) {
      loss = loss + contrast(student.graph, teacher.remembered_graph, student.own_bank, negatives) +
             contrast(teacher.graph, student.remembered_graph, teacher.own_bank, negatives);
    }
    sample_banks::remember(student_.bank, index, student.rows, params_.momentum, group_);
    sample_banks::remember(teacher_.bank, index, teacher.rows, params_.momentum, group_);
    return loss;
  }

 private:
  /// First weights as the authors have them: of torch's linear layer, of the graph library's convolution (Xavier-normal
  /// for what a ReLU follows), and of their memory.
  Side make_side(const std::string& name, std::int64_t features, kd::RandomKey key) {
    const std::int64_t width = params_.width;
    Side side{.embedding = adapter_.layers(name), .graph_weight = {}, .graph_bias = {}, .bank = {}};
    side.embedding.linear(features, width);
    const at::Tensor row = at::arange(width, at::TensorOptions().dtype(at::kLong));
    const double deviation = std::sqrt(2.0) * std::sqrt(2.0 / double(3 * width));
    side.graph_weight = adapter_.parameter(
        name + "_graph_weight", kd::random_normal(key.with(name + "_graph_weight"), row, 2 * width) * deviation);
    side.graph_bias = adapter_.parameter(
        name + "_graph_bias",
        sample_banks::uniform(key.with(name + "_graph_bias"), 1, width, 1 / std::sqrt(2.0 * double(width)))[0]);
    side.bank = adapter_.buffer(name + "_bank", sample_banks::first_bank(key.with(name + "_bank"), samples_, width));
    return side;
  }

  Embedded embed(const Side& side, const at::Tensor& feature, const at::Tensor& logits, const at::Tensor& index) const {
    Embedded result;
    result.rows = kd::unit_rows(side.embedding(kd::precise(feature)));
    const at::ScalarType type = result.rows.scalar_type();
    // The bank changes in this step: what is scored is what it held before.
    result.own_bank = side.bank.to(type).clone();
    result.remembered = result.own_bank.index_select(0, index);
    const at::Tensor neighbourhood = neighbourhoods(logits);
    if (!neighbourhood.defined()) return result;
    const at::Tensor around = at::matmul(neighbourhood.to(type), kd::gather_with_gradient(group_, result.rows));
    const at::Tensor mixed = at::matmul(at::cat({result.rows, around}, 1), side.graph_weight.t()) + side.graph_bias;
    result.graph = kd::unit_rows(mixed);
    result.remembered_graph =
        kd::unit_rows(result.remembered * params_.smoothing + result.graph.detach() * (1 - params_.smoothing));
    return result;
  }

  /// D^-½ A D^-½ of the graph, N×(samples of all processes): every sample has k neighbours that point at it, so that
  /// each counts 1/k. Undefined where there are fewer samples than k.
  at::Tensor neighbourhoods(const at::Tensor& logits) const {
    const at::NoGradGuard no_gradient;
    const at::Tensor own = kd::unit_rows(at::softmax(kd::precise(logits), 1)), all = group_.gather(own);
    if (all.size(0) < params_.neighbours) return {};
    const at::Tensor cosines = at::matmul(own, all.t());
    cosines.diagonal(first_row(own.size(0))).narrow(0, 0, own.size(0)).fill_(2);  // a sample is its own nearest
    // Sure answers are alike to the last bit: a stable order says which of equals is nearer.
    const at::Tensor nearest =
        cosines.argsort(/*stable=*/true, 1, /*descending=*/true).narrow(1, 0, params_.neighbours);
    return at::zeros_like(cosines).scatter_(1, nearest, 1 / double(params_.neighbours));
  }

  /// Of this process among the rows of all.
  std::int64_t first_row(std::int64_t rows) const {
    if (group_.size() == 1) return 0;
    const at::Tensor counts = group_.gather(at::full({1}, rows, at::TensorOptions().dtype(at::kLong)));
    return counts.narrow(0, 0, group_.rank()).sum().item<std::int64_t>();
  }

  /// Mean of −ln of the share that the positive has in the softmax over it and the negatives. Scores against the whole
  /// bank are one matrix product, of which K are taken: no copy of K vectors for each sample is made.
  at::Tensor contrast(const at::Tensor& rows, const at::Tensor& positive, const at::Tensor& bank,
                      const at::Tensor& negatives) const {
    const at::Tensor of_negatives = at::gather(at::matmul(rows, bank.t()), 1, negatives);
    const at::Tensor scores = at::cat({(rows * positive).sum(1, true), of_negatives}, 1) / params_.temperature;
    return (at::logsumexp(scores, at::IntArrayRef{1}) - scores.select(1, 0)).mean();
  }

  const Params params_;
  const std::int64_t samples_, negatives_;
  kd::Group& group_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  Side student_, teacher_;
  const sample_banks::ByClass by_class_;
};

}  // namespace

KD_REGISTER(kd::Loss, "hkd", HolisticKnowledge,
            "embeddings of a sample and of its neighbours in a graph of the batch, by both networks, contrasted with "
            "memories (HKD)")
