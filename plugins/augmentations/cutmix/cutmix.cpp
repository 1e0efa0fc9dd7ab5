// CutMix: Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features", ICCV
// 2019, arXiv 1905.04899, eq. 1 and 2.
//   augment = [{ type = "cutmix", probability = 0.5, beta = 1.0 }]
#include <ATen/ops/where.h>

#include "../shared/boxes.h"
#include "../shared/mixing.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

enum class Within { kBatch, kSet };
enum class BoxSide { kPaper, kReleased };

class CutMix final : public kd::Augmentation {
 public:
  struct Params {
    double probability = 0.5, beta = 1;
    Within within = Within::kBatch;
    BoxSide box = BoxSide::kPaper;

    static void schema(kd::Schema<Params>& s) {
      s.field("probability", &Params::probability,
              "that the batch is mixed, or with within = 'set' each sample by itself; published: 0.5 on CIFAR, 1 on "
              "ImageNet")
          .def(0.5)
          .range(0, 1);
      s.field("beta", &Params::beta, "the share λ of an image that stays is drawn from Beta(beta, beta)")
          .def(1.0)
          .above(0);
      s.choice("within", &Params::within, {{"batch", Within::kBatch}, {"set", Within::kSet}},
               "partners from the batch and one box for all of it (as published), or partners from the whole training "
               "set and a box for each sample")
          .def("batch");
      s.choice("box", &Params::box, {{"paper", BoxSide::kPaper}, {"released", BoxSide::kReleased}},
               "sides of the paper, cut to whole pixels, or of the released code, where an odd side loses one more")
          .def("paper");
    }
  };

  explicit CutMix(const Params& params) : params_(params) {}

  at::Tensor extra_samples(const at::Tensor& index, const at::Tensor& labels, kd::RandomKey key) const override {
    if (params_.within == Within::kBatch) return {};
    return kd::random_below(key.with("partner"), index, 1, labels.size(0)).squeeze(1);
  }

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    mixing::refuse_mixed(batch, "cutmix");
    const bool of_batch = params_.within == Within::kBatch;
    const std::int64_t height = batch.images.size(2), width = batch.images.size(3);
    const at::Tensor counters = of_batch ? kd::common_counter(batch.index) : batch.index;
    const boxes::Boxes box = draw_boxes(counters, key, height, width);
    const at::Tensor pasted = boxes::inside(box, height, width);
    const at::Tensor rows = of_batch ? mixing::partner_rows(key.with("partner"), batch.index) : at::Tensor();
    const at::Tensor plain = batch.images;
    batch.change_images([&](const at::Tensor& images) {
      if (of_batch) return at::where(pasted, images.index_select(0, rows), images);
      const bool bytes = images.scalar_type() == at::kByte;  // an extra view may be float already
      return at::where(pasted, bytes ? batch.extra_sample_images : kd::to_float(batch.extra_sample_images), images);
    });
    batch.plain_images = plain;
    // The share that stays, which the clipping of the box raises above λ.
    const at::Tensor weight = 1 - box.area().to(at::kFloat) / static_cast<double>(height * width);
    mixing::set_targets(batch, of_batch ? batch.targets.labels.index_select(0, rows) : batch.extra_sample_labels,
                        weight.expand({batch.size()}).contiguous());
  }

  bool mixes() const override { return true; }

 private:
  /// One box per counter; empty where nothing is mixed.
  boxes::Boxes draw_boxes(const at::Tensor& counters, kd::RandomKey key, std::int64_t height,
                          std::int64_t width) const {
    const at::Tensor stays = kd::random_beta(key.with("share"), counters, params_.beta, params_.beta);
    const at::Tensor mixes = kd::random_uniform(key.with("mixes"), counters, 1).squeeze(1) < params_.probability;
    const at::Tensor side_share = (1 - stays.to(at::kDouble)).sqrt() * mixes;
    const auto side = [&](std::int64_t size) {
      const at::Tensor whole = (side_share * size).to(at::kLong);
      return params_.box == BoxSide::kPaper ? whole : whole.floor_divide(2) * 2;
    };
    return boxes::around_random_pixels(key.with("middle"), counters, side(height), side(width), height, width);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "cutmix", CutMix,
            "a box of another image in each, and its share of the label (Yun et al., 2019)")
