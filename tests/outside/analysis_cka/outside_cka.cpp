// Linear centred kernel alignment between the features of two networks, which may be of two runs (Kornblith et al.,
// "Similarity of Neural Network Representations Revisited", ICML 2019, arXiv 1905.00414), built outside kdrun's tree.
#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

/// Mean over positions of a map, and each column less its mean: N×C.
at::Tensor centred(const at::Tensor& feature) {
  const at::Tensor rows = (feature.dim() == 4 ? feature.mean({2, 3}) : feature).to(at::kDouble);
  return rows - rows.mean(0, true);
}

/// ‖YᵀX‖² / (‖XᵀX‖ · ‖YᵀY‖), in [0, 1].
double linear_cka(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = centred(a), y = centred(b);
  const double cross = at::matmul(y.t(), x).square().sum().item<double>();
  return cross / (at::matmul(x.t(), x).norm() * at::matmul(y.t(), y).norm()).item<double>();
}

class OutsideCka final : public kd::Analysis {
 public:
  struct Params {
    std::string stage, other_stage, other_run;
    std::int64_t samples = 1000;

    static void schema(kd::Schema<Params>& s) {
      s.field("stage", &Params::stage, "of this run");
      s.field("other_stage", &Params::other_stage, "whose network it is compared with");
      s.field("other_run", &Params::other_run, "the run folder of the other; empty: this run").def("");
      s.field("samples", &Params::samples, "of the test split").def(1000).at_least(2);
    }
  };

  explicit OutsideCka(const Params& params) : params_(params) {}

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::find_network(networks, params_.stage, "");
    if (params_.other_run.empty()) kd::find_network(networks, params_.other_stage, "");
  }

  void run(kd::AnalysisContext& context) override {
    kd::TrainedModel& one = context.network(params_.stage, "");
    kd::TrainedModel& other = params_.other_run.empty() ? context.network(params_.other_stage, "")
                                                        : context.load(params_.other_run, params_.other_stage, "");
    const std::vector<std::string> rows = one.tap_names(), columns = other.tap_names();
    kd::Table table{.name = "cka",
                    .caption = "linear CKA of " + one.name().text() + " with " + other.name().text(),
                    .columns = {{"feature", kd::ColumnType::kText}},
                    .rows = {}};
    for (const std::string& tap : columns) table.columns.push_back({tap, kd::ColumnType::kNumber});
    kd::HeatMap map{.values = {}, .low = 0, .high = 1};
    for (const std::string& tap : rows) {
      const at::Tensor feature = one.features(kd::Split::kTest, tap, params_.samples);
      kd::Row row{tap};
      map.values.emplace_back();
      for (const std::string& other_tap : columns) {
        const double cka = linear_cka(feature, other.features(kd::Split::kTest, other_tap, params_.samples));
        row.emplace_back(cka);
        map.values.back().push_back(cka);
      }
      table.rows.push_back(std::move(row));
    }
    context.table(table);
    context.figure({.name = "cka",
                    .title = table.caption,
                    .panels = {{.x = {.title = other.name().text(), .categories = columns},
                                .y = {.title = one.name().text(), .categories = rows},
                                .marks = {map}}}});
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "outside_cka", OutsideCka, "linear CKA between two networks")
