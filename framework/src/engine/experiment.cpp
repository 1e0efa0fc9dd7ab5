// experiment.h
#include "engine/experiment.h"

#include <fmt/format.h>

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/contact_sheet.h"
#include "data/training_data.h"
#include "engine/analysed_model.h"
#include "engine/device.h"
#include "engine/stage.h"
#include "engine/stage_parts.h"
#include "engine/stop.h"
#include "engine/summary.h"
#include "files/atomic_file.h"
#include "kd/analysis.h"
#include "kd/picture.h"
#include "kd/plugin.h"
#include "record/run_folder.h"
#include "report/report.h"
#include "report/table_views.h"

namespace kd {
namespace {

/// The settings of a plan that are no defaults, as JSON.
std::string given_settings(const ExperimentPlan& plan) {
  nlohmann::ordered_json given = nlohmann::json::array();
  for (const SettingOrigin& setting : list_settings(plan.resolved)) {
    if (setting.location.source && *setting.location.source == "default") continue;
    given.push_back(
        {{"key", setting.key}, {"value", setting.value.to_toml()}, {"where", setting.location.to_string()}});
  }
  return given.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

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
  void began(const std::filesystem::path& run) override { inner_.began(run); }
  void finished(const std::string& stage, bool reused, double seconds) override {
    inner_.finished(stage, reused, seconds);
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

nlohmann::ordered_json to_json(const std::vector<StageResult>& stages, const ExperimentPlan& plan) {
  nlohmann::ordered_json all = nlohmann::json::array();
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const StageResult& stage = stages[i];
    nlohmann::ordered_json networks = nlohmann::json::array();
    for (std::size_t n = 0; n < stage.networks.size(); ++n) {
      const NetworkResult& network = stage.networks[n];
      networks.push_back({{"name", network.name},
                          {"control", control_of(i, n, stages, plan)},
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
      const StagePlan& plan = context.plan.stages[i];
      const TrainingData& data = context.data->get(plan.data, plan.train);
      for (const NetworkResult& result : stages[i].networks) {
        models_.push_back(std::make_unique<AnalysedModel>(stages[i], result, plan.train, data, context.device));
        networks_.push_back(models_.back().get());
      }
    }
  }

  const std::vector<TrainedModel*>& networks() override { return networks_; }
  TrainedModel& load(const std::string& run, const std::string& stage, const std::string& network) override {
    models_.push_back(load_analysed(run, stage, network, context_.data_root, context_.device));
    return *models_.back();
  }
  RandomKey key() const override { return RandomKey{static_cast<std::uint64_t>(context_.plan.seed)}.with("analysis"); }
  void keep(const Table& table) override {
    const std::string name = free_name(table.name, kept_tables_);
    folder_.write_analysis(name + ".csv", to_csv(table));
    folder_.write_analysis(name + ".json", to_json(table));
  }
  void show(const Table& table) override { context_.progress.say(table.caption + "\n" + indented(to_console(table))); }
  void figure(const Figure& figure) override { folder_.write_figure(free_name(figure.name, kept_figures_), figure); }
  void print(const std::string& text) override { context_.progress.say(text); }

 private:
  /// `name`, or the same with a number where the run has kept one of its kind under it already.
  static std::string free_name(const std::string& name, std::map<std::string, int>& kept) {
    const bool plain = !name.empty() && name.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789_-") == std::string::npos;
    if (!plain) throw Error(fmt::format("'{}' is no name for a table or figure: letters, digits, '_' and '-'", name));
    const int count = ++kept[name];
    return count == 1 ? name : fmt::format("{}_{}", name, count);
  }
  static std::string indented(const std::string& lines) {
    std::string text;
    std::istringstream stream(lines);
    for (std::string line; std::getline(stream, line);) text += (text.empty() ? "  " : "\n  ") + line;
    return text;
  }

  const RunContext& context_;
  RunFolder& folder_;
  std::vector<std::unique_ptr<AnalysedModel>> models_;
  std::vector<TrainedModel*> networks_;
  std::map<std::string, int> kept_tables_, kept_figures_;  // how often each name was taken
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

}  // namespace

RunContext make_context(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  const at::Device device = choose_device(plan.device);
  use_own_stream(device);
  flush_denormals();
  use_deterministic_algorithms(options.deterministic);
  set_memory_share(options.memory_share);
  return {.plan = plan,
          .device = device,
          .data_root = options.data_root,
          .runs_folder = options.runs_folder,
          .fresh = options.fresh,
          .deterministic = options.deterministic,
          .max_steps = options.max_steps,
          .progress = progress,
          .sinks = {},
          .group = options.group,
          .processes_here = options.processes_here,
          .finished = {},
          .answers = std::make_shared<AnswerCaches>(most_cache_bytes(device)),
          .data = std::make_shared<TrainingDataStore>(options.data_root, static_cast<std::uint64_t>(plan.seed), device,
                                                      [&progress](const std::string& line) { progress.warn(line); })};
}

namespace {

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

/// Trains the stages; `finished` is told of each.
void train_stages(RunContext& context, RunResult& result, const std::function<void(const StageResult&)>& finished) {
  for (const StagePlan& stage : context.plan.stages) {
    StageResult outcome =
        call_component(fmt::format("stage '{}'", stage.name), [&] { return run_stage(stage, context); });
    context.finished[stage.name] = outcome;
    result.stages.push_back(std::move(outcome));
    finished(result.stages.back());
  }
}

void tell_if_reused(const StageResult& outcome, Progress& progress) {
  if (!outcome.reused) return;
  progress.say(fmt::format("stage {}: already trained, reused from {} (--fresh trains it anew)", outcome.stage,
                           outcome.folder.string()));
}

/// Trains the stages and looks at them; `result` holds what was finished where this throws.
void run_stages(RunContext& context, const std::vector<std::unique_ptr<Analysis>>& analyses, RunFolder& folder,
                RunResult& result) {
  train_stages(context, result, [&](const StageResult& outcome) {
    folder.link_stage(outcome.stage, outcome.folder);
    for (const NetworkResult& network : outcome.networks) {
      const ClassificationResult& test = network.test;
      folder.finish_network(outcome.stage, network.name,
                            {{"top1", test.top1}, {"nll", test.nll}, {"ece", test.calibration.ece}});
    }
    tell_if_reused(outcome, context.progress);
    folder.set_status("running", "", to_json(result.stages, context.plan).dump());
    context.progress.finished(outcome.stage, outcome.reused, outcome.seconds);
  });
  folder.write_summary(summary_table(result.stages));
  if (analyses.empty()) return;
  throw_if_stopped("before the analyses");
  RunAnalysisContext analysis_context(context, result.stages, folder);
  for (std::size_t i = 0; i < analyses.size(); ++i) {
    call_component(fmt::format("analysis '{}'", context.plan.analyses[i].type),
                   [&] { analyses[i]->run(analysis_context); });
  }
}

/// Leaves the page that tells of the run, with a picture of what its last stage shows its networks. A result is none
/// the worse where that fails.
void tell(const RunContext& context, RunFolder& folder) {
  constexpr std::int64_t kSheetRows = 4, kSheetColumns = 6;
  try {
    const StagePlan& stage = context.plan.stages.back();
    const TrainingData& data = context.data->get(stage.data, stage.train);
    const AugmentationChain augmentations(stage.train.augment, data.info);
    const RandomKey key = stage_key(context.plan, stage);
    folder.write_augmentations(
        encode_png(make_contact_sheet(data, augmentations, key, kSheetRows, kSheetColumns).picture));
    if (context.max_steps == 0) folder.write_report(html_report({folder.path()}));
  } catch (const std::exception& error) {
    context.progress.warn("the run has no report: " + message_of(error));
  }
}

/// Keeps what a process says that is not the first of its group, where that was asked for.
class RankLog final : public Progress {
 public:
  explicit RankLog(const std::filesystem::path& file) {
    if (!file.empty()) stream_.open(file, std::ios::app);
    if (!file.empty() && !stream_) throw Error(fmt::format("{} cannot be written", file.string()));
  }
  void say(const std::string& line) override { stream_ << line << std::endl; }  // each line may be the last
  void warn(const std::string& line) override { say("warning: " + line); }
  void step(const StepProgress&) override {}
  void epoch(const EpochSummary& summary) override { say(to_line(summary)); }

 private:
  std::ofstream stream_;
};

/// What a process does that is not the first of its group: it trains, and leaves writing and looking to the first.
RunResult help_to_train(const ExperimentPlan& plan, const RunOptions& options) {
  RankLog log(options.rank_log);
  return train_and_keep(plan, options, log);
}

}  // namespace

RunResult train_and_keep(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  RunContext context = make_context(plan, options, progress);
  check(context);
  RunResult result;
  train_stages(context, result, [&](const StageResult& outcome) {
    tell_if_reused(outcome, progress);
    progress.finished(outcome.stage, outcome.reused, outcome.seconds);
  });
  return result;
}

RunResult run_experiment(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  if (!options.group->is_first()) return help_to_train(plan, options);
  LoggingProgress logging(progress);
  RunContext context = make_context(plan, options, logging);
  const auto analyses = check(context);
  RunFolder folder(options.runs_folder, plan,
                   {.recipe_file = plan.recipe_file,
                    .arguments = options.arguments,
                    .device = describe_device(context.device),
                    .max_steps = options.max_steps,
                    .title = plan.title,
                    .given = given_settings(plan)});
  logging.keep_in(folder);
  logging.began(folder.path());
  context.sinks = folder.sinks();
  RunResult result{.folder = folder.path(), .stages = {}};
  try {
    run_stages(context, analyses, folder, result);
  } catch (const std::exception& error) {
    const auto* own = dynamic_cast<const Error*>(&error);
    const bool stopped = own != nullptr && own->code() == ExitCode::kResumable;
    folder.log("error: " + message_of(error));
    folder.set_status(stopped ? "stopped" : "failed", message_of(error), to_json(result.stages, plan).dump());
    throw;
  }
  std::istringstream table(result_text(result.stages, plan));
  for (std::string line; std::getline(table, line);) folder.log(line);
  folder.set_status("ok", "", to_json(result.stages, plan).dump());
  tell(context, folder);
  return result;
}

void check_experiment(const ExperimentPlan& plan, const RunOptions& options, Progress& progress) {
  check(make_context(plan, options, progress));
}

}  // namespace kd
