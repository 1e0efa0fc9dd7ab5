// What a network's answers are worth on images that are not the test's: accuracy under FGSM (Goodfellow et al., ICLR
// 2015, arXiv 1412.6572) and PGD (Madry et al., ICLR 2018, arXiv 1706.06083) of growing strength, and under common
// corruptions (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261). Each network is attacked with its own gradient,
// or all are shown the images made to fool the network of one stage.
//   analysis = [{ type = "robustness", attacks = ["fgsm", "pgd"], epsilons = [0, 2, 8], samples = 500 }]
#include <algorithm>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "../shared/same_samples.h"
#include "attacks.h"
#include "corruptions.h"
#include "kd/analysis.h"
#include "kd/plugin.h"

namespace {

namespace ka = kd::analyses;

constexpr double kPixel = 1 / 255.0;
constexpr int kPanelsInARow = 2;
constexpr double kHeight = 0.75;
constexpr std::size_t kGroupsInAPanel = 4;  // so that the names fit below them

/// By what is done to the images, and by how much.
using Accuracies = std::vector<std::vector<double>>;

struct Result {
  kd::TrainedModel* network;
  double clean = 0;
  Accuracies attacks = {}, corruptions = {};
};

kd::Axis accuracy_axis() { return {.title = "accuracy", .low = 0, .high = 1}; }

double mean(const std::vector<double>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0) / static_cast<double>(numbers.size());
}

double mean_of_all(const Accuracies& numbers) {
  std::vector<double> means;
  for (const std::vector<double>& some : numbers) means.push_back(mean(some));
  return mean(means);
}

void require_known(const std::vector<std::string>& names, const std::vector<std::string>& known,
                   const std::string& what) {
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw kd::RecipeError({}, "there is no " + what + " '" + name + "'", kd::name_hint(name, known, what + "s"));
  }
}

const ka::Corruption& find_corruption(const std::string& name) {
  return *std::find_if(ka::kCorruptions.begin(), ka::kCorruptions.end(),
                       [&](const ka::Corruption& one) { return one.name == name; });
}

/// Images that fool one network can be shown to another that knows the same samples in the same size.
bool sees_same_images(kd::TrainedModel& one, kd::TrainedModel& other) {
  constexpr kd::Split kTest = kd::Split::kTest;
  return ka::have_same_samples(one, other, kTest) &&
         one.pixels(kTest, 0, 1).sizes() == other.pixels(kTest, 0, 1).sizes();
}

template <class Strength>
void add_rows(kd::Table& table, const std::vector<Result>& results, Accuracies Result::* accuracies,
              const std::vector<std::string>& names, const std::vector<Strength>& strengths) {
  for (const Result& result : results) {
    const auto& [stage, network] = result.network->name();
    for (std::size_t n = 0; n < names.size(); ++n) {
      for (std::size_t i = 0; i < strengths.size(); ++i)
        table.rows.push_back({stage, network, names[n], strengths[i], (result.*accuracies)[n][i]});
    }
  }
}

class Robustness final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> attacks, corruptions;
    std::vector<double> epsilons;
    std::int64_t steps = 10, samples = 500, batch = 100;
    double step_size = 0;
    bool random_start = true;
    std::string transfer, transfer_network;
    std::vector<std::int64_t> severities;

    static void schema(kd::Schema<Params>& s) {
      s.field("attacks", &Params::attacks, "fgsm: one step of ε; pgd: several, brought back into the ball; []: none")
          .def(std::vector<std::string>{"fgsm", "pgd"});
      s.field("epsilons", &Params::epsilons,
              "how far an attack moves a pixel at most, in 1/255 of the range of pixels: an L∞ ball")
          .def(std::vector<double>{0, 1, 2, 4, 8})
          .range(0, 255);
      s.field("steps", &Params::steps, "of pgd").def(10).at_least(1);
      s.field("step_size", &Params::step_size, "of each step of pgd, in 1/255; 0: 2.5·ε/steps").def(0.0).range(0, 255);
      s.field("random_start", &Params::random_start, "pgd begins at a uniform point of the ball, else at the image")
          .def(true);
      s.field("transfer", &Params::transfer,
              "the stage whose network the attacks are made for, to be shown to all; empty: each network's own")
          .def("");
      s.field("transfer_network", &Params::transfer_network, "which network of that stage; empty: its only one")
          .def("");
      s.field("corruptions", &Params::corruptions,
              "gaussian_noise, shot_noise, impulse_noise, speckle_noise, gaussian_blur, brightness, contrast, "
              "pixelate, as CIFAR-10-C has them; []: none")
          .def(ka::corruption_names());
      s.field("severities", &Params::severities, "of the corruptions, each from 1 to 5")
          .def(std::vector<std::int64_t>{1, 3, 5})
          .range(1, 5);
      s.field("samples", &Params::samples, "of the test split, the first ones, at most").def(500).at_least(1);
      s.field("batch", &Params::batch, "samples that are attacked at once").def(100).at_least(1);
    }
  };

  explicit Robustness(const Params& params) : params_(in_order(params)) {
    require_known(params.attacks, {"fgsm", "pgd"}, "attack");
    require_known(params.corruptions, ka::corruption_names(), "corruption");
    if (params.attacks.empty() && params.corruptions.empty())
      throw kd::RecipeError("'attacks' and 'corruptions' name nothing");
    if (params.epsilons.empty()) throw kd::RecipeError("'epsilons' is empty");
    if (params.severities.empty()) throw kd::RecipeError("'severities' is empty");
    if (params.transfer.empty() && !params.transfer_network.empty())
      throw kd::RecipeError("'transfer_network' names a network, and 'transfer' no stage");
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    if (!params_.transfer.empty()) kd::find_network(networks, params_.transfer, params_.transfer_network);
  }

  void run(kd::AnalysisContext& context) override {
    kd::TrainedModel* source =
        params_.transfer.empty() ? nullptr : &context.network(params_.transfer, params_.transfer_network);
    std::vector<Result> results;
    for (kd::TrainedModel* network : context.networks()) {
      if (source == nullptr || sees_same_images(*network, *source)) results.push_back({.network = network});
    }
    for (Result& result : results) result.clean = accuracy(*result.network, pixels_of(*result.network));
    measure_attacks(results, source, context.key().with("pgd"));
    for (Result& result : results) measure_corruptions(result, context.key());
    if (!params_.attacks.empty()) show_attacks(results, source, context);
    if (!params_.corruptions.empty()) show_corruptions(results, context);
    context.table(summary(results));
  }

 private:
  static Params in_order(Params params) {
    std::sort(params.epsilons.begin(), params.epsilons.end());
    return params;
  }

  at::Tensor pixels_of(kd::TrainedModel& network) const { return network.pixels(kd::Split::kTest, 0, params_.samples); }

  /// What `change(batch, its first sample)` makes of the pixels, batch by batch.
  template <class Change>
  at::Tensor changed(const at::Tensor& pixels, const Change& change) const {
    std::vector<at::Tensor> batches;
    for (std::int64_t first = 0; first < pixels.size(0); first += params_.batch)
      batches.push_back(change(pixels.narrow(0, first, std::min(params_.batch, pixels.size(0) - first)), first));
    return at::cat(batches);
  }

  double accuracy(kd::TrainedModel& network, const at::Tensor& pixels) const {
    const at::Tensor answers = changed(pixels, [&](const at::Tensor& batch, std::int64_t) {
      return network.forward(network.seen(batch)).logits.argmax(1);
    });
    const at::Tensor labels = network.labels(kd::Split::kTest).narrow(0, 0, pixels.size(0));
    return answers.cpu().eq(labels).to(at::kDouble).mean().item<double>();
  }

  at::Tensor attacked(kd::TrainedModel& network, const std::string& attack, double epsilon, kd::RandomKey key) const {
    const at::Tensor pixels = pixels_of(network), labels = network.labels(kd::Split::kTest).to(pixels.device());
    if (epsilon == 0) return pixels;
    const double step = params_.step_size > 0 ? params_.step_size : 2.5 * epsilon / static_cast<double>(params_.steps);
    const ka::PgdSettings settings{params_.steps, step * kPixel, params_.random_start};
    return changed(pixels, [&](const at::Tensor& batch, std::int64_t first) {
      const ka::Samples samples{batch, labels.narrow(0, first, batch.size(0))};
      return attack == "fgsm" ? ka::fgsm(network, samples, epsilon * kPixel)
                              : ka::pgd(network, samples, epsilon * kPixel, settings, key, first);
    });
  }

  void measure_attacks(std::vector<Result>& results, kd::TrainedModel* source, kd::RandomKey key) const {
    for (const std::string& attack : params_.attacks) {
      for (Result& result : results) result.attacks.emplace_back();
      for (const double epsilon : params_.epsilons) {
        const at::Tensor shown = source != nullptr ? attacked(*source, attack, epsilon, key) : at::Tensor();
        for (Result& result : results) {
          const at::Tensor pixels = source != nullptr ? shown : attacked(*result.network, attack, epsilon, key);
          result.attacks.back().push_back(accuracy(*result.network, pixels));
        }
      }
    }
  }

  void measure_corruptions(Result& result, kd::RandomKey key) const {
    const at::Tensor pixels = pixels_of(*result.network);
    for (const std::string& name : params_.corruptions) {
      result.corruptions.emplace_back();
      for (const std::int64_t severity : params_.severities) {
        const at::Tensor corrupted = changed(pixels, [&](const at::Tensor& batch, std::int64_t first) {
          return ka::corrupt(find_corruption(name), batch, severity, key, first);
        });
        result.corruptions.back().push_back(accuracy(*result.network, corrupted));
      }
    }
  }

  void show_attacks(const std::vector<Result>& results, kd::TrainedModel* source, kd::AnalysisContext& context) const {
    const std::string images =
        "test images made to fool " + (source != nullptr ? source->name().text() : "the network itself");
    kd::Table table{.name = "robustness_attacks",
                    .caption = "accuracy on " + images + ", with no pixel moved by more than ε/255",
                    .columns = {{"stage", kd::ColumnType::kText},
                                {"network", kd::ColumnType::kText},
                                {"attack", kd::ColumnType::kText},
                                {"epsilon", kd::ColumnType::kNumber, "ε"},
                                {"accuracy", kd::ColumnType::kShare}},
                    .rows = {}};
    add_rows(table, results, &Result::attacks, params_.attacks, params_.epsilons);
    context.keep(table);
    kd::Figure figure{
        .name = "robustness_attacks", .title = "Accuracy on " + images, .panels = {}, .columns = kPanelsInARow};
    for (std::size_t a = 0; a < params_.attacks.size(); ++a) {
      kd::Panel panel{.title = params_.attacks[a],
                      .x = {.title = "ε, 1/255"},
                      .y = accuracy_axis(),
                      .marks = {},
                      .height = kHeight};
      for (const Result& result : results)
        panel.marks.emplace_back(
            kd::Curve{.name = result.network->name().text(), .x = params_.epsilons, .y = result.attacks[a]});
      figure.panels.push_back(std::move(panel));
    }
    context.figure(figure);
  }

  void show_corruptions(const std::vector<Result>& results, kd::AnalysisContext& context) const {
    kd::Table table{.name = "robustness_corruptions",
                    .caption = "accuracy on corrupted test images",
                    .columns = {{"stage", kd::ColumnType::kText},
                                {"network", kd::ColumnType::kText},
                                {"corruption", kd::ColumnType::kText},
                                {"severity", kd::ColumnType::kCount},
                                {"accuracy", kd::ColumnType::kShare}},
                    .rows = {}};
    add_rows(table, results, &Result::corruptions, params_.corruptions, params_.severities);
    context.keep(table);
    kd::Figure figure{.name = "robustness_corruptions",
                      .title = "Accuracy on corrupted test images, mean over severities",
                      .panels = {},
                      .columns = kPanelsInARow};
    for (std::size_t first = 0; first < params_.corruptions.size(); first += kGroupsInAPanel)
      figure.panels.push_back(corruption_panel(results, first));
    context.figure(figure);
  }

  /// A group of bars for each corruption, from the place `first` on.
  kd::Panel corruption_panel(const std::vector<Result>& results, std::size_t first) const {
    kd::Panel panel{.x = {.title = "corruption"}, .y = accuracy_axis(), .marks = {}, .height = kHeight};
    const std::size_t groups = std::min(kGroupsInAPanel, params_.corruptions.size() - first);
    for (std::size_t g = 0; g < groups; ++g) panel.x.categories.push_back(params_.corruptions[first + g]);
    const double width = 0.8 / static_cast<double>(results.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      kd::Bars bars{.name = results[i].network->name().text(), .left = {}, .right = {}, .bottom = {}, .top = {}};
      for (std::size_t g = 0; g < groups; ++g) {
        bars.left.push_back(static_cast<double>(g) - 0.4 + static_cast<double>(i) * width);
        bars.right.push_back(bars.left.back() + width);
        bars.top.push_back(mean(results[i].corruptions[first + g]));
      }
      panel.marks.emplace_back(std::move(bars));
    }
    return panel;
  }

  kd::Table summary(const std::vector<Result>& results) const {
    std::ostringstream strongest;
    strongest << params_.epsilons.back();
    kd::Table table{.name = "robustness_summary",
                    .caption = "accuracy on test images: clean, attacked with ε = " + strongest.str() +
                               "/255, and corrupted, mean over corruptions and severities",
                    .columns = {{"stage", kd::ColumnType::kText},
                                {"network", kd::ColumnType::kText},
                                {"clean", kd::ColumnType::kShare},
                                {"fgsm", kd::ColumnType::kShare, "FGSM"},
                                {"pgd", kd::ColumnType::kShare, "PGD"},
                                {"corruptions", kd::ColumnType::kShare}},
                    .rows = {}};
    for (const Result& result : results) {
      kd::Row row{result.network->name().stage, result.network->name().network, result.clean, {}, {}, {}};
      for (std::size_t a = 0; a < params_.attacks.size(); ++a)
        row[params_.attacks[a] == "fgsm" ? 3 : 4] = result.attacks[a].back();
      if (!params_.corruptions.empty()) row[5] = mean_of_all(result.corruptions);
      table.rows.push_back(std::move(row));
    }
    return table;
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "robustness", Robustness,
            "accuracy under FGSM and PGD of growing strength and under common corruptions (Goodfellow et al., 2015; "
            "Madry et al., 2018; Hendrycks and Dietterich, 2019)")
