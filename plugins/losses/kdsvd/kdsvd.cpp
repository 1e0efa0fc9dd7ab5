// Distillation by singular vectors: Lee, Kim and Song, "Self-supervised Knowledge Distillation Using Singular Value
// Decomposition", ECCV 2018, arXiv 1807.06819. Of each map as a matrix of places×channels, the first right singular
// vectors; of the student's first few the one most like the teacher's, with its sign. Between consecutive maps, all
// differences of two vectors' entries under a radial kernel exp(−d²/8): the sum of squared differences, over B. The
// vectors are eigenvectors of the channels' products, and their gradient is that of first-order perturbation, without
// the terms of eigenvalues that lie together, where a decomposition's own gradient is not finite. A teacher's vector
// has its largest entry above 0: its sign is arbitrary.
//   losses = [{ type = "cross_entropy" }, { type = "kdsvd", weight = 1.0, matrix = "channels" }]
#include <ATen/ops/linalg_eigh.h>

#include <algorithm>

#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Matrix { kChannels, kColumns };

/// The `count` first eigenvectors of symmetric matrices N×D×D, as columns, N×D×count.
at::Tensor first_vectors(const at::Tensor& products, std::int64_t count) {
  const std::int64_t size = products.size(1);
  at::Tensor values, vectors;
  {
    const at::NoGradGuard no_gradient;
    std::tie(values, vectors) = at::linalg_eigh(products.detach());
  }
  const at::Tensor first = vectors.narrow(2, size - count, count).flip(2);
  if (!products.requires_grad()) return first;
  // dv_i = Σ_j v_j (v_jᵀ dG v_i) / (λ_i − λ_j)
  const at::Tensor gaps = values.narrow(1, size - count, count).flip(1).unsqueeze(1) - values.unsqueeze(2);
  const at::Tensor least = values.abs().amax(1, true).unsqueeze(2) * 1e-5;
  const at::Tensor inverse = at::where(gaps.abs() > least, gaps, at::full_like(gaps, INFINITY)).reciprocal();
  const at::Tensor change = at::matmul(vectors.transpose(1, 2), at::matmul(products - products.detach(), first));
  return first + at::matmul(vectors, change * inverse);
}

class SingularVectors final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Lee, Kim and Song, ECCV 2018, arXiv 1807.06819", .weight = "1.0"};

  struct Params : kd::TapParams {
    Matrix matrix = Matrix::kChannels;
    std::int64_t candidates = 4;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage1", "stage2", "stage3"});
      s.choice("matrix", &Params::matrix, {{"channels", Matrix::kChannels}, {"columns", Matrix::kColumns}},
               "a map as places×channels, as RepDistiller has it, which wants equal channels, or as "
               "(channels·rows)×columns, "
               "as mdistiller")
          .def("channels");
      s.field("candidates", &Params::candidates, "first vectors of the student, one of which is chosen")
          .def(4)
          .at_least(1);
    }
  };

  SingularVectors(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kMaps, 2) {
    for (std::size_t i = 0; i < taps_.size() && params.matrix == Matrix::kChannels; ++i) {
      const std::int64_t student = taps_.student_shape(i)[0], teacher = taps_.teacher_shape(i)[0];
      if (student == teacher) continue;
      throw kd::RecipeError({},
                            "the feature '" + params.taps[i] + "' has " + std::to_string(student) +
                                " channels in the student and " + std::to_string(teacher) +
                                " in the teacher, and this loss compares vectors over the channels",
                            "matrix = \"columns\" compares vectors over the columns of a map");
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    at::Tensor student_before, teacher_before;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student_map, teacher_map] =
          kd::at_common_size(kd::precise(taps_.student(input, i)), kd::precise(taps_.teacher(input, i)));
      const at::Tensor teacher = with_a_sign(first_vectors(products(teacher_map), 1));
      const at::Tensor student = most_like(student_map, teacher);
      if (i > 0) {
        const at::Tensor difference = kernel(student, student_before) - kernel(teacher, teacher_before);
        terms.push_back(difference.square().sum() / static_cast<double>(student.size(0)));
      }
      student_before = student;
      teacher_before = teacher;
    }
    return at::stack(terms).sum();
  }

 private:
  /// N×D×D sums of products over the other sides of the matrix. Autocast would round them.
  at::Tensor products(const at::Tensor& map) const {
    const kd::WithoutAutocast exact(map.device());
    const at::Tensor rows = params_.matrix == Matrix::kChannels ? map.flatten(2) : map.flatten(1, 2).transpose(1, 2);
    return at::matmul(rows, rows.transpose(1, 2));
  }

  static at::Tensor with_a_sign(const at::Tensor& vectors) {
    const at::Tensor largest = vectors.abs().argmax(1, true);
    return vectors * at::gather(vectors, 1, largest).sign();
  }

  /// Of the student's first vectors the one whose cosine with the teacher's is the largest, with its sign: N×D×1.
  at::Tensor most_like(const at::Tensor& map, const at::Tensor& teacher) const {
    const kd::WithoutAutocast exact(map.device());
    const at::Tensor matrix = products(map);
    // Beyond the rank of the map's matrix a vector is any of many.
    const std::int64_t rank = std::min(matrix.size(1), map.numel() / map.size(0) / matrix.size(1));
    const at::Tensor vectors = first_vectors(matrix, std::min(params_.candidates, rank));
    const at::Tensor cosines = at::matmul(vectors.detach().transpose(1, 2), teacher);
    const at::Tensor sizes = cosines.abs();
    const at::Tensor chosen = at::where(sizes == sizes.amax(1, true), cosines.sign(), at::zeros_like(cosines));
    return at::matmul(vectors, chosen);
  }

  /// exp(−(a_i − b_j)²/8) of all entries of two vectors.
  static at::Tensor kernel(const at::Tensor& a, const at::Tensor& b) {
    return ((a - b.transpose(1, 2)).square() / -8).exp();
  }

  const Params params_;
  const kd::TapPairs taps_;
};

}  // namespace

KD_REGISTER(kd::Loss, "kdsvd", SingularVectors,
            "first singular vectors of consecutive maps, student's against teacher's (distillation by SVD)")
