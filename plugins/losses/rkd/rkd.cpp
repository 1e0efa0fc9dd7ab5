// Relational distillation: Park, Kim, Lu and Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068.
// Of a batch's vectors: smooth L1 between the distances of pairs, each over the mean of all, and between the cosines of
// the angles of triples. The angle at i between j and k follows from inner products, (G_jk − G_ij − G_ik + G_ii) over
// the two distances, so that nothing of size B×B×D is made.
//   losses = [{ type = "cross_entropy" }, { type = "rkd", distance = 25.0, angle = 50.0 }]
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

/// N×N distances over the mean of those of different samples.
at::Tensor relative_distances(const at::Tensor& distances) {
  const auto pairs = static_cast<double>(std::max<std::int64_t>(1, distances.size(0) * (distances.size(0) - 1)));
  return distances / (distances.sum() / pairs).clamp_min(1e-12);
}

/// N×N×N: at (i, j, k) the cosine of the angle at i between j and k; 0 where i is one of them.
at::Tensor angles(const at::Tensor& rows, const at::Tensor& distances) {
  const at::Tensor products = kd::gram(rows - rows.mean(0, true));
  const at::Tensor to_self = products.diagonal().view({-1, 1, 1});
  const at::Tensor between = products.unsqueeze(0) - products.unsqueeze(2) - products.unsqueeze(1) + to_self;
  const at::Tensor eye = at::eye(rows.size(0), rows.options());
  const at::Tensor inverse = (1 - eye) / (distances + eye);
  return between * inverse.unsqueeze(2) * inverse.unsqueeze(1);
}

class RelationalLoss final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Park et al., CVPR 2019, arXiv 1904.05068",
      .weight = "1.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 71.90 % top-1 (RepDistiller)"};

  struct Params : kd::TapParams {
    double distance = 25, angle = 50;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"pooled"});
      s.field("distance", &Params::distance, "factor of the distances' part").def(25.0).at_least(0);
      s.field("angle", &Params::angle, "factor of the angles' part").def(50.0).at_least(0);
    }
  };

  RelationalLoss(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kAny) {}

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const at::Tensor student = taps_.student_rows(input, i), teacher = taps_.teacher_rows(input, i);
      // The diagonal is 0, where a root has no gradient.
      const at::Tensor d_student = off_diagonal_root(kd::squared_distances(student));
      const at::Tensor d_teacher = off_diagonal_root(kd::squared_distances(teacher));
      if (params_.distance > 0) {
        terms.push_back(at::smooth_l1_loss(relative_distances(d_student), relative_distances(d_teacher)) *
                        params_.distance);
      }
      if (params_.angle > 0)
        terms.push_back(at::smooth_l1_loss(angles(student, d_student), angles(teacher, d_teacher)) * params_.angle);
    }
    return terms.empty() ? input.student.logits.sum() * 0 : at::stack(terms).sum();
  }

 private:
  static at::Tensor off_diagonal_root(const at::Tensor& squares) {
    const at::Tensor eye = at::eye(squares.size(0), squares.options());
    return (squares + eye).sqrt() - eye;
  }

  const Params params_;
  const kd::TapPairs taps_;
};

}  // namespace

KD_REGISTER(
    kd::Loss, "rkd", RelationalLoss,
    "distances and angles between the samples of a batch, student's against teacher's (relational distillation)")
