// kdrun eval: evaluates trained networks again.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "data/training_data.h"
#include "engine/device.h"
#include "engine/stored.h"

namespace kd::cli {

void add_eval(CLI::App& app) {
  struct Arguments {
    std::string run, checkpoint = "best", data, root, device = "auto";
    bool json = false;
    std::int64_t bins = BinSettings{}.bins;
    std::vector<std::string> folders;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("eval", "evaluate the networks of a run again");
  command->add_option("run", given->run, "a run folder, or a stage in one")->required();
  command->add_option("--checkpoint", given->checkpoint, "best: the epoch that the table of the run reports; or last")
      ->capture_default_str()
      ->check(CLI::IsMember({"last", "best"}));
  command->add_option("--data", given->data, "another data set, as a TOML table");
  command->add_option("--data-root", given->root, "where the data sets are");
  command->add_option("--device", given->device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  command->add_option("--bins", given->bins, "of the calibration errors, equally wide")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", given->json, "as JSON");
  command->add_option("--plugin-dir", given->folders, "more folders with plugins")->allow_extra_args(false);
  command->callback([given] {
    load_plugins_with_warnings(given->folders);
    const at::Device device = choose_device(given->device);
    nlohmann::ordered_json json = nlohmann::json::array();
    for (const auto& folder : finished_stages(given->run)) {
      for (const Evaluation& one : evaluate_stage(folder, given->checkpoint, given->data, data_root(given->root),
                                                  device, {.bins = given->bins, .rule = BinRule::kUpperClosed})) {
        json.push_back({{"stage", one.stage}, {"network", one.network}});
        json.back().update(to_json(one.test));
        if (given->json) continue;
        fmt::print(
            "{:<24} {:<16} top-1 {:.2f} %  top-5 {:.2f} %  NLL {:.4f}  ECE {:.4f}  OE {:.4f}  Brier {:.4f}  ({} "
            "images)\n",
            one.stage, one.network, 100 * one.test.top1, 100 * one.test.top5, one.test.nll, one.test.calibration.ece,
            one.test.calibration.oe, one.test.calibration.brier, one.test.samples);
      }
    }
    if (given->json) fmt::print("{}\n", json.dump(2));
  });
}

}  // namespace kd::cli
