// experiment.h
#include "engine/experiment.h"

#include <ATen/Context.h>
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/device.h"
#include "engine/networks.h"
#include "engine/stage.h"
#include "engine/stop.h"
#include "engine/stored.h"
#include "files/atomic_file.h"
#include "kd/analysis.h"
#include "kd/plugin.h"
#include "record/run_folder.h"

namespace kd {
namespace {

/// Passes on what is said and keeps it in log.txt.
class LoggingProgress final : public Progress {
 public:
  LoggingProgress(Progress& inner, RunFolder& folder) : inner_(inner), folder_(folder) {}

  void say(const std::string& line) override {
    folder_.log(line);
    inner_.say(line);
  }
  void warn(const std::string& line) override {
    folder_.log("warning: " + line);
    inner_.warn(line);
  }
  void moment(const Moment& moment) override { inner_.moment(moment); }
  void epoch(const EpochSummary& summary) override {
    std::string line = fmt::format("stage {} epoch {}/{}", summary.stage, summary.epoch, summary.epochs);
    for (const auto& [network, numbers] : summary.networks) {
      for (const char* name : {"train/loss", "train/top1", "test/nll", "test/top1"}) {
        if (const auto found = numbers.find(name); found != numbers.end())
          line += fmt::format(" {}/{}={:.5g}", network, name, found->second);
      }
    }
    folder_.log(line);
    inner_.epoch(summary);
  }

 private:
  Progress& inner_;
  RunFolder& folder_;
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
      const TrainingData data = load_training_data(plan.data, context.data_root,
                                                   static_cast<std::uint64_t>(context.plan.seed), context.device);
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

/// The analyses of a plan, made and checked before anything is trained.
std::vector<std::unique_ptr<Analysis>> make_analyses(const ExperimentPlan& plan) {
  std::vector<NetworkName> networks;
  for (const StagePlan& stage : plan.stages) {
    for (const NetworkPlan& network : stage.networks) networks.push_back({stage.name, network.name});
  }
  std::vector<std::unique_ptr<Analysis>> analyses;
  for (const ComponentSpec& spec : plan.analyses) {
    analyses.push_back(make<Analysis>(spec));
    try {
      analyses.back()->check(networks);
    } catch (const RecipeError& error) {
      throw RecipeError(fmt::format("{}: error: {}", spec.location.to_string(), error.what()));
    }
  }
  return analyses;
}

}  // namespace

RunResult run_experiment(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  const auto analyses = make_analyses(plan);
  const at::Device device = choose_device(plan.device);
  use_own_stream(device);
  flush_denormals();
  if (options.deterministic) at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  RunFolder folder(
      options.runs_folder, plan.recipe_name, write_recipe(plan.resolved),
      {.recipe_file = plan.recipe_file, .arguments = options.arguments, .device = describe_device(device)});
  LoggingProgress logging(progress, folder);
  RunContext context{.plan = plan,
                     .device = device,
                     .data_root = options.data_root,
                     .runs_folder = options.runs_folder,
                     .fresh = options.fresh,
                     .deterministic = options.deterministic,
                     .max_steps = options.max_steps,
                     .progress = logging,
                     .sinks = folder.sinks(),
                     .finished = {},
                     .answers = std::make_shared<AnswerCaches>(most_cache_bytes(device))};
  RunResult result{.folder = folder.path(), .stages = {}};
  try {
    for (const StagePlan& stage : plan.stages) {
      StageResult outcome = run_stage(stage, context);
      folder.link_stage(stage.name, outcome.folder);
      if (outcome.reused) {
        logging.say(fmt::format("stage {}: already trained, reused from {} (--fresh trains it anew)", stage.name,
                                outcome.folder.string()));
      }
      context.finished[stage.name] = outcome;
      result.stages.push_back(std::move(outcome));
      folder.set_status("running", "", to_json(result.stages).dump());
    }
    folder.write_summary(summary_csv(result.stages));
    if (!plan.analyses.empty()) {
      RunAnalysisContext analysis_context(context, result.stages, folder);
      for (const auto& analysis : analyses) analysis->run(analysis_context);
    }
  } catch (const std::exception& error) {
    const auto* own = dynamic_cast<const Error*>(&error);
    const bool stopped = own != nullptr && own->code() == ExitCode::kResumable;
    folder.log("error: " + message_of(error));
    folder.set_status(stopped ? "stopped" : "failed", message_of(error), to_json(result.stages).dump());
    throw;
  }
  folder.set_status("ok", "", to_json(result.stages).dump());
  return result;
}

void check_experiment(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  require_writable(options.runs_folder);
  Diagnostics diagnostics;
  const RunContext context{.plan = plan,
                           .device = choose_device(plan.device),
                           .data_root = options.data_root,
                           .runs_folder = options.runs_folder,
                           .fresh = false,
                           .deterministic = false,
                           .max_steps = 0,
                           .progress = progress,
                           .sinks = {},
                           .finished = {},
                           .answers = nullptr};
  for (const StagePlan& stage : plan.stages) check_stage(stage, context, diagnostics);
  make_analyses(plan);
  diagnostics.throw_if_any();
}

std::string result_table(const std::vector<StageResult>& stages, const ExperimentPlan& plan) {
  std::string text = fmt::format("{:<24} {:<16} {:>10} {:>7} {:>8} {:>8} {:>8} {:>7} {:>7} {:>9}\n", "stage", "network",
                                 "parameters", "epochs", "top-1 %", "top-5 %", "NLL", "ECE", "OE", "seconds");
  for (const StageResult& stage : stages) {
    for (const NetworkResult& network : stage.networks) {
      text += fmt::format("{:<24} {:<16} {:>10} {:>7} {:>8.2f} {:>8.2f} {:>8.4f} {:>7.4f} {:>7.4f} {:>9}\n",
                          stage.stage, network.name, network.parameters, stage.epochs, 100 * network.test.top1,
                          100 * network.test.top5, network.test.nll, network.test.calibration.ece,
                          network.test.calibration.oe, stage.reused ? "reused" : fmt::format("{:.1f}", stage.seconds));
    }
  }
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
      text += fmt::format("{} against {}: {:+.2f} points of top-1\n", stages[i].stage, stages[j].stage,
                          100 * (stages[i].networks[0].test.top1 - stages[j].networks[0].test.top1));
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
      text += fmt::format("{},{},{},{},{:.3f},{},{},{},{},{}", stage.stage, network.name, network.parameters,
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
