// run_folder.h
#include "record/run_folder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <sys/utsname.h>
#include <torch/version.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "files/atomic_file.h"
#include "files/digest.h"
#include "kd/diagnostics.h"
#include "plugin/registry.h"
#include "report/figure_views.h"
#include "report/table_views.h"

namespace kd {
namespace {

std::string now(const char* format) {
  const std::time_t seconds = std::time(nullptr);
  return fmt::format(fmt::runtime(format), fmt::localtime(seconds));
}

/// The commit that the working directory's repository is at, if it is one: read from its files, so that git need not be
/// there.
std::string git_commit(std::filesystem::path folder) {
  for (; !folder.empty() && folder != folder.root_path(); folder = folder.parent_path()) {
    std::ifstream head(folder / ".git" / "HEAD");
    std::string line;
    if (!std::getline(head, line)) continue;
    if (!line.starts_with("ref: ")) return line;
    std::ifstream reference(folder / ".git" / line.substr(5));
    return std::getline(reference, line) ? line : "";
  }
  return "";
}

nlohmann::ordered_json describe_host() {
  utsname name{};
  ::uname(&name);
  return {
      {"name", name.nodename}, {"system", fmt::format("{} {}", name.sysname, name.release)}, {"machine", name.machine}};
}

/// Every library that a component came from, with its digest: the code that made the result.
nlohmann::ordered_json describe_plugins() {
  std::set<std::filesystem::path> libraries;
  for (const RegisteredComponent* component : registry().components()) {
    if (std::filesystem::is_regular_file(component->library)) libraries.insert(component->library);
  }
  nlohmann::ordered_json plugins = nlohmann::json::array();
  for (const auto& library : libraries)
    plugins.push_back({{"file", library.string()}, {"sha256", file_digest(library)}});
  return plugins;
}

/// `component` as the recipe holds it: its type and parameters.
Value to_table(const ComponentSpec& component) {
  Value table(Value::Table{{"type", {}, component.type}});
  for (const Member& member : component.parameters.as_table()) table.set(member.key, member.value);
  return table;
}

/// What a network is trained with, under the names that overrides have behind "stage.NAME.".
std::vector<std::pair<std::string, Value>> trial_settings(const ExperimentPlan& plan, const StagePlan& stage,
                                                          const NetworkPlan& network) {
  Value table = stage.resolved;
  table.erase("name");
  table.erase("models");
  table.set("model", to_table(network.model));
  if (network.optimizer) table.set("optimizer", to_table(network.optimizer));
  if (network.schedule) table.set("schedule", to_table(network.schedule));
  std::vector<std::pair<std::string, Value>> settings{
      {"recipe", plan.recipe_name}, {"stage", stage.name}, {"network", network.name}, {"seed", plan.seed}};
  for (const SettingOrigin& setting : list_settings(table)) {
    const Value& value = setting.value;
    const bool empty = value.is_null() || (value.is_list() && value.as_list().empty()) || value.is_table();
    if (!empty) settings.emplace_back(setting.key, value);
  }
  return settings;
}

/// Every network of the run. A training that is repeated, or goes on after a stop, is the same trial.
std::vector<Trial> list_trials(const ExperimentPlan& plan, const std::string& digest, std::int64_t max_steps) {
  std::vector<Trial> trials;
  for (const StagePlan& stage : plan.stages) {
    for (const NetworkPlan& network : stage.networks) {
      std::string group = fmt::format("{}-{} {}/{}", plan.recipe_name, digest, stage.name, network.name);
      if (max_steps > 0) group += fmt::format(" ({} steps)", max_steps);
      trials.push_back({stage.name, network.name, group, trial_settings(plan, stage, network)});
    }
  }
  return trials;
}

}  // namespace

RunFolder::RunFolder(const std::filesystem::path& runs, const ExperimentPlan& plan, RunFacts facts)
    : facts_(std::move(facts)), started_(now("{:%Y-%m-%dT%H:%M:%S%z}")) {
  const std::string resolved = write_recipe(plan.resolved);
  const std::string digest = Digest().add(resolved).hex().substr(0, 8);
  const std::string base = fmt::format("{}-{}", now("{:%Y%m%d-%H%M%S}"), digest);
  require_writable(runs);
  std::filesystem::create_directories(runs / plan.recipe_name);
  path_ = runs / plan.recipe_name / base;
  for (int i = 2; !std::filesystem::create_directory(path_); ++i)
    path_ = runs / plan.recipe_name / fmt::format("{}-{}", base, i);
  std::filesystem::create_directories(path_ / "stages");
  if (std::filesystem::is_regular_file(facts_.recipe_file))
    std::filesystem::copy_file(facts_.recipe_file, path_ / "recipe.toml");
  write_file(path_ / "resolved.toml", resolved);
  metrics_ = std::make_unique<JsonLinesSink>(path_ / "metrics.jsonl");
  tensorboard_ = std::make_unique<TensorBoardSink>(path_ / "tb", list_trials(plan, digest, facts_.max_steps));
  log_ = std::make_shared<spdlog::logger>(
      "run", std::make_shared<spdlog::sinks::basic_file_sink_mt>((path_ / "log.txt").string()));
  log_->set_pattern("%Y-%m-%d %H:%M:%S %v");
  log_->flush_on(spdlog::level::info);
  set_status("running", "", "[]");
}

RunFolder::~RunFolder() = default;

std::vector<Sink*> RunFolder::sinks() { return {metrics_.get(), tensorboard_.get()}; }

void RunFolder::log(const std::string& line) { log_->info(line); }

void RunFolder::link_stage(const std::string& name, const std::filesystem::path& folder) {
  replace_link(path_ / "stages" / name, std::filesystem::relative(folder, path_ / "stages"));
}

void RunFolder::finish_network(const std::string& stage, const std::string& network,
                               const std::map<std::string, double>& results) {
  tensorboard_->finish(stage, network, results);
}

void RunFolder::write_analysis(const std::string& file, const std::string& text) {
  std::filesystem::create_directories(path_ / "analysis");
  write_file(path_ / "analysis" / file, text);
}

void RunFolder::write_augmentations(const std::string& png) { write_file(path_ / "augmentations.png", png); }

void RunFolder::write_report(const std::string& html) { write_file(path_ / "report.html", html); }

void RunFolder::write_figure(const std::string& name, const Figure& figure) {
  const std::string png = to_png(figure);
  write_analysis(name + ".svg", to_svg(figure));
  write_analysis(name + ".png", png);
  write_analysis(name + ".figure.json", to_json(figure));
  tensorboard_->image(name, png);
}

void RunFolder::write_summary(const Table& table) {
  write_file(path_ / "summary.csv", to_csv(table));
  write_file(path_ / "summary.json", to_json(table));
}

void RunFolder::set_status(const std::string& status, const std::string& error, const std::string& results) {
  if (status != "running") tensorboard_->abandon(status == "failed" ? TrialStatus::kFailure : TrialStatus::kUnknown);
  nlohmann::ordered_json json{{"status", status},
                              {"error", error},
                              {"started", started_},
                              {"updated", now("{:%Y-%m-%dT%H:%M:%S%z}")},
                              {"process", ::getpid()},
                              {"recipe", facts_.recipe_file},
                              {"title", facts_.title},
                              {"given", nlohmann::ordered_json::parse(facts_.given)},
                              {"arguments", facts_.arguments},
                              {"device", facts_.device},
                              {"whole", facts_.max_steps == 0},
                              {"max_steps", facts_.max_steps},
                              {"host", describe_host()},
                              {"git_commit", git_commit(std::filesystem::current_path())},
                              {"versions", {{"kdrun", KD_VERSION}, {"libtorch", TORCH_VERSION}}},
                              {"plugins", describe_plugins()},
                              {"stages", nlohmann::ordered_json::parse(results)}};
  write_file(path_ / "run.json", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace kd
