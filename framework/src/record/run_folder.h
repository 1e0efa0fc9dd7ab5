// The folder of a run: what was asked, what came out, on what machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/figure.h"
#include "kd/table.h"
#include "recipe/plan.h"
#include "record/records.h"
#include "record/tensorboard.h"

namespace spdlog {
class logger;
}

namespace kd {

/// What run.json says of the run besides its results.
struct KD_API RunFacts {
  std::string recipe_file;
  std::vector<std::string> arguments;
  std::string device;
  std::int64_t max_steps = 0;  ///< after which each stage was ended; 0: the run is whole
  std::string title = {};
  std::string given = "[]";  ///< JSON text: the settings that are not defaults, each with its key, value and place
};

class KD_API RunFolder {
 public:
  /// Makes <runs>/<recipe>/<time>-<first 8 digits of the resolved recipe's SHA-256>, never one that exists.
  RunFolder(const std::filesystem::path& runs, const ExperimentPlan& plan, RunFacts facts);
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }
  std::vector<Sink*> sinks();
  /// Appends a line to log.txt.
  void log(const std::string& line);
  /// Shows the folder of a finished stage under stages/<name>.
  void link_stage(const std::string& name, const std::filesystem::path& folder);
  /// Tells TensorBoard what a network came to: "top1", "ece", "nll".
  void finish_network(const std::string& stage, const std::string& network,
                      const std::map<std::string, double>& results);
  void write_analysis(const std::string& file, const std::string& text);
  /// A picture of what the networks see, and the page that tells of the run.
  void write_augmentations(const std::string& png);
  void write_report(const std::string& html);
  /// As <name>.svg, .png and .figure.json, and for TensorBoard.
  void write_figure(const std::string& name, const Figure& figure);
  /// As summary.csv and summary.json.
  void write_summary(const Table& table);
  /// Writes run.json: "running", "ok", "failed", "stopped". `results` is JSON text.
  void set_status(const std::string& status, const std::string& error, const std::string& results);

 private:
  std::filesystem::path path_;
  RunFacts facts_;
  std::string started_;
  std::unique_ptr<JsonLinesSink> metrics_;
  std::unique_ptr<TensorBoardSink> tensorboard_;
  std::shared_ptr<spdlog::logger> log_;
};

}  // namespace kd
