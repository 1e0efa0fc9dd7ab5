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

}  // namespace

RunFolder::RunFolder(const std::filesystem::path& runs, const std::string& recipe_name, const std::string& resolved,
                     RunFacts facts)
    : facts_(std::move(facts)), started_(now("{:%Y-%m-%dT%H:%M:%S%z}")) {
  const std::string base = fmt::format("{}-{}", now("{:%Y%m%d-%H%M%S}"), Digest().add(resolved).hex().substr(0, 8));
  require_writable(runs);
  std::filesystem::create_directories(runs / recipe_name);
  path_ = runs / recipe_name / base;
  for (int i = 2; !std::filesystem::create_directory(path_); ++i)
    path_ = runs / recipe_name / fmt::format("{}-{}", base, i);
  std::filesystem::create_directories(path_ / "stages");
  if (std::filesystem::is_regular_file(facts_.recipe_file))
    std::filesystem::copy_file(facts_.recipe_file, path_ / "recipe.toml");
  write_file(path_ / "resolved.toml", resolved);
  metrics_ = std::make_unique<JsonLinesSink>(path_ / "metrics.jsonl");
  tensorboard_ = std::make_unique<TensorBoardSink>(path_ / "tb");
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

void RunFolder::write_analysis(const std::string& file, const std::string& text) {
  std::filesystem::create_directories(path_ / "analysis");
  write_file(path_ / "analysis" / file, text);
}

void RunFolder::write_augmentations(const std::string& png) { write_file(path_ / "augmentations.png", png); }

void RunFolder::write_report(const std::string& html) { write_file(path_ / "report.html", html); }

void RunFolder::write_summary(const Table& table) {
  write_file(path_ / "summary.csv", to_csv(table));
  write_file(path_ / "summary.json", to_json(table));
}

void RunFolder::set_status(const std::string& status, const std::string& error, const std::string& results) {
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
