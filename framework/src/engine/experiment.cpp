// experiment.h
#include "engine/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/device.h"
#include "engine/placement.h"
#include "engine/stage.h"
#include "engine/stop.h"
#include "engine/stored.h"
#include "files/atomic_file.h"
#include "kd/analysis.h"
#include "kd/plugin.h"
#include "record/run_folder.h"

namespace kd {
namespace {

/// Passes on what is said and keeps it in log.txt, with what was said before there was a run folder.
class LoggingProgress final : public Progress {
 public:
  explicit LoggingProgress(Progress& inner) : inner_(inner) {}

  void keep_in(RunFolder& folder) {
    folder_ = &folder;
    for (const std::string& line : said_before_) folder.log(line);
    said_before_.clear();
  }

  void say(const std::string& line) override {
    log(line);
    inner_.say(line);
  }
  void warn(const std::string& line) override {
    log("warning: " + line);
    inner_.warn(line);
  }
  void step(const StepProgress& progress) override { inner_.step(progress); }
  void epoch(const EpochSummary& summary) override {
    log(to_line(summary));
    inner_.epoch(summary);
  }

 private:
  void log(const std::string& line) {
    if (folder_ != nullptr) {
      folder_->log(line);
    } else {
      said_before_.push_back(line);
    }
  }

  Progress& inner_;
  RunFolder* folder_ = nullptr;
  std::vector<std::string> said_before_;
};

nlohmann::ordered_json to_json(const std::vector<StageResult>& stages) {
  nlohmann::ordered_json all = nlohmann::json::array();
  for (const StageResult& stage : stages) {
    nlohmann::ordered_json networks = nlohmann::json::array();
    for (const NetworkResult& network : stage.networks) {
      networks.push_back({{"name", network.name},
                          {"parameters", network.parameters},
                          {"test_top1", network.test.top1},
                          {"test_nll", network.test.nll}});
    }
    all.push_back({{"stage", stage.stage},
                   {"fingerprint", stage.fingerprint},
                   {"reused", stage.reused},
                   {"epochs", stage.epochs},
                   {"seconds", stage.seconds},
                   {"precision", stage.precision},
                   {"networks", networks}});
  }
  return all;
}

class RunAnalysisContext final : public AnalysisContext {
 public:
  RunAnalysisContext(const RunContext& context, const std::vector<StageResult>& stages, RunFolder& folder)
      : context_(context), folder_(folder) {
    for (std::size_t i = 0; i < stages.size(); ++i) {
      throw_if_stopped("before the analyses");
      const StagePlan& plan = context.plan.stages[i];
      const TrainingData& data = context.data->get(plan.data);
      for (const NetworkResult& result : stages[i].networks) {
        networks_.push_back(answer_splits(stages[i], result, plan.train, data, context.device));
      }
    }
  }

  const std::vector<AnalysedNetwork>& networks() const override { return networks_; }
  AnalysedNetwork load(const std::string& run, const std::string& stage, const std::string& network) override {
    return load_network(run, stage, network, context_.data_root, context_.device);
  }
  void write(const std::string& file_name, const std::string& text) override {
    const int count = ++written_[file_name];
    const std::filesystem::path file(file_name);
    folder_.write_analysis(
        count == 1 ? file_name : fmt::format("{}_{}{}", file.stem().string(), count, file.extension().string()), text);
  }
  void print(const std::string& text) override { context_.progress.say(text); }

 private:
  const RunContext& context_;
  RunFolder& folder_;
  std::vector<AnalysedNetwork> networks_;
  std::map<std::string, int> written_;  // how often each file name was asked for
};

/// The analyses of a plan; what is wrong with them goes to `diagnostics`.
std::vector<std::unique_ptr<Analysis>> make_analyses(const ExperimentPlan& plan, Diagnostics& diagnostics) {
  std::vector<NetworkName> networks;
  for (const StagePlan& stage : plan.stages) {
    for (const NetworkPlan& network : stage.networks) networks.push_back({stage.name, network.name});
  }
  std::vector<std::unique_ptr<Analysis>> analyses;
  for (const ComponentSpec& spec : plan.analyses) {
    const std::string what = fmt::format("analysis '{}'", spec.type);
    try {
      analyses.push_back(make<Analysis>(spec));
      call_component(what, [&] { analyses.back()->check(networks); });
    } catch (const std::exception& error) {
      diagnostics.add(error, spec.location, what);
    }
  }
  return analyses;
}

/// What the stages of a run share, before the first of them.
RunContext make_context(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  const at::Device device = choose_device(plan.device);
  use_own_stream(device);
  flush_denormals();
  use_deterministic_algorithms(options.deterministic);
  return {
      .plan = plan,
      .device = device,
      .data_root = options.data_root,
      .runs_folder = options.runs_folder,
      .fresh = options.fresh,
      .deterministic = options.deterministic,
      .max_steps = options.max_steps,
      .progress = progress,
      .sinks = {},
      .finished = {},
      .answers = std::make_shared<AnswerCaches>(most_cache_bytes(device)),
      .data = std::make_shared<TrainingDataStore>(options.data_root, static_cast<std::uint64_t>(plan.seed), device)};
}

/// Everything that can be known to be wrong before training, in one error; returns the analyses.
std::vector<std::unique_ptr<Analysis>> check(const RunContext& context) {
  require_writable(context.runs_folder);
  Diagnostics diagnostics;
  for (const StagePlan& stage : context.plan.stages) {
    throw_if_stopped("before training");
    check_stage(stage, context, diagnostics);
  }
  auto analyses = make_analyses(context.plan, diagnostics);
  diagnostics.throw_if_any();
  return analyses;
}

/// Trains the stages and looks at them; `result` holds what was finished where this throws.
void run_stages(RunContext& context, const std::vector<std::unique_ptr<Analysis>>& analyses, RunFolder& folder,
                RunResult& result) {
  for (const StagePlan& stage : context.plan.stages) {
    StageResult outcome =
        call_component(fmt::format("stage '{}'", stage.name), [&] { return run_stage(stage, context); });
    folder.link_stage(stage.name, outcome.folder);
    if (outcome.reused) {
      context.progress.say(fmt::format("stage {}: already trained, reused from {} (--fresh trains it anew)", stage.name,
                                       outcome.folder.string()));
    }
    context.finished[stage.name] = outcome;
    result.stages.push_back(std::move(outcome));
    folder.set_status("running", "", to_json(result.stages).dump());
  }
  folder.write_summary(summary_csv(result.stages));
  if (analyses.empty()) return;
  RunAnalysisContext analysis_context(context, result.stages, folder);
  for (std::size_t i = 0; i < analyses.size(); ++i) {
    call_component(fmt::format("analysis '{}'", context.plan.analyses[i].type),
                   [&] { analyses[i]->run(analysis_context); });
  }
}

}  // namespace

RunResult run_experiment(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  LoggingProgress logging(progress);
  RunContext context = make_context(plan, options, logging);
  const auto analyses = check(context);
  RunFolder folder(options.runs_folder, plan.recipe_name, write_recipe(plan.resolved),
                   {.recipe_file = plan.recipe_file,
                    .arguments = options.arguments,
                    .device = describe_device(context.device),
                    .max_steps = options.max_steps});
  logging.keep_in(folder);
  context.sinks = folder.sinks();
  RunResult result{.folder = folder.path(), .stages = {}};
  try {
    run_stages(context, analyses, folder, result);
  } catch (const std::exception& error) {
    const auto* own = dynamic_cast<const Error*>(&error);
    const bool stopped = own != nullptr && own->code() == ExitCode::kResumable;
    folder.log("error: " + message_of(error));
    folder.set_status(stopped ? "stopped" : "failed", message_of(error), to_json(result.stages).dump());
    throw;
  }
  std::istringstream table(result_table(result.stages, plan));
  for (std::string line; std::getline(table, line);) folder.log(line);
  folder.set_status("ok", "", to_json(result.stages).dump());
  return result;
}

void check_experiment(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  check(make_context(plan, options, progress));
}

namespace {

using Line = std::vector<std::string>;

/// Columns as wide as what they hold, the first two to the left and the rest to the right.
std::string align(const std::vector<Line>& lines) {
  std::vector<std::size_t> widths(lines.front().size());
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += i < 2 ? fmt::format("{:<{}}", line[i], widths[i]) : fmt::format("  {:>{}}", line[i], widths[i]);
      if (i == 0) text += "  ";
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string result_table(const std::vector<StageResult>& stages, const ExperimentPlan& plan) {
  std::vector<Line> lines = {
      {"stage", "network", "parameters", "epochs", "top-1 %", "top-5 %", "NLL", "ECE", "OE", "seconds"}};
  for (const StageResult& stage : stages) {
    for (const NetworkResult& network : stage.networks) {
      const ClassificationResult& test = network.test;
      lines.push_back({stage.stage, network.name, std::to_string(network.parameters), std::to_string(stage.epochs),
                       fmt::format("{:.2f}", 100 * test.top1), fmt::format("{:.2f}", 100 * test.top5),
                       fmt::format("{:.4f}", test.nll), fmt::format("{:.4f}", test.calibration.ece),
                       fmt::format("{:.4f}", test.calibration.oe),
                       stage.reused ? "reused" : fmt::format("{:.1f}", stage.seconds)});
    }
  }
  std::string text = align(lines);
  // A distilled student against the same network trained on labels alone, the first such stage of the recipe: the
  // question that most recipes ask.
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (plan.stages[i].teachers.empty()) continue;
    for (std::size_t j = 0; j < stages.size(); ++j) {
      const bool alone = plan.stages[j].teachers.empty() && plan.stages[j].scheme.type == "supervised";
      const bool same = alone && stages[j].networks.size() == 1 && stages[i].networks.size() == 1 &&
                        stages[j].networks[0].model.type == stages[i].networks[0].model.type &&
                        stages[j].networks[0].model.parameters == stages[i].networks[0].model.parameters;
      if (!same) continue;
      const double points = 100 * (stages[i].networks[0].test.top1 - stages[j].networks[0].test.top1);
      text += fmt::format("{} against {}: {:+.2f} points of top-1\n", stages[i].stage, stages[j].stage, points);
      break;
    }
  }
  return text;
}

std::string summary_csv(const std::vector<StageResult>& stages) {
  std::string text = "stage,network,parameters,epochs,seconds,reused,top1,top5,nll,samples";
  for (const auto& [name, value] : calibration_measures({})) text += fmt::format(",{}", name);
  text += '\n';
  for (const StageResult& stage : stages) {
    for (const NetworkResult& network : stage.networks) {
      // Names are quoted, so that a reader knows them from numbers.
      text += fmt::format("\"{}\",\"{}\",{},{},{:.3f},{},{},{},{},{}", stage.stage, network.name, network.parameters,
                          stage.epochs, stage.seconds, stage.reused, network.test.top1, network.test.top5,
                          network.test.nll, network.test.samples);
      for (const auto& [name, value] : calibration_measures(network.test.calibration))
        text += fmt::format(",{}", value);
      text += '\n';
    }
  }
  return text;
}

}  // namespace kd
