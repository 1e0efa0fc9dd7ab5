// kdrun augment: a picture of what the networks of a stage will see, to be looked at before training.
#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "data/contact_sheet.h"
#include "engine/stage_parts.h"
#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "kd/picture.h"

namespace kd::cli {
namespace {

struct Arguments {
  RecipeArguments recipe;
  std::string stage, output = "augment.png";
  std::int64_t rows = 8, columns = 8;
};

const StagePlan& find_stage(const ExperimentPlan& plan, const std::string& name) {
  std::vector<std::string> names;
  for (const StagePlan& stage : plan.stages) {
    if (stage.name == name || (name.empty() && plan.stages.size() == 1)) return stage;
    names.push_back(stage.name);
  }
  if (name.empty()) throw RecipeError(fmt::format("say which stage with --stage: {}", fmt::join(names, ", ")));
  throw RecipeError({}, fmt::format("there is no stage '{}'", name), name_hint(name, names, "stages"));
}

void show_augmentations(const Arguments& given) {
  const ExperimentPlan plan = given.recipe.read();
  const StagePlan& stage = find_stage(plan, given.stage);
  if (std::filesystem::path(given.output).extension() != ".png")
    throw RecipeError({}, fmt::format("--out {}: a PNG file is written", given.output), "let its name end in .png");
  if (std::filesystem::exists(given.output))
    throw Error(given.output + " exists already; nothing was written. Give another name with --out");
  DataRequest request = data_request(stage.data, stage.train);
  request.root = data_root(given.recipe.data_root);
  request.seed = static_cast<std::uint64_t>(plan.seed);
  const TrainingData data = load_training_data(request);
  const AugmentationChain augmentations(stage.train.augment, data.info);
  const ContactSheet sheet = make_contact_sheet(data, augmentations, stage_key(plan, stage), given.rows, given.columns);
  write_file(given.output, encode_png(sheet.picture));
  constexpr std::size_t kMostTold = 8;
  for (std::size_t i = 0; i < std::min(kMostTold, sheet.mixed.size()); ++i) {
    const MixedTile& tile = sheet.mixed[i];
    fmt::print("row {} column {}: {:.3f} '{}' + {:.3f} '{}'\n", tile.row, tile.column, tile.weight, tile.label,
               1 - tile.weight, tile.partner);
  }
  if (sheet.mixed.size() > kMostTold) fmt::print("… and {} more mixed images\n", sheet.mixed.size() - kMostTold);
  const Value* scheme = stage.resolved.find("scheme");
  if (scheme != nullptr && scheme->find("mix") != nullptr) {
    fmt::print("the scheme '{}' also mixes images itself, by its 'mix': that is not drawn\n", stage.scheme.type);
  }
  fmt::print("wrote {}: column 0 as stored, then {} epochs{}\n", given.output, given.columns,
             augmentations.view_names().empty()
                 ? ""
                 : fmt::format(", each followed by its views {}", fmt::join(augmentations.view_names(), ", ")));
}

}  // namespace

void add_augment(CLI::App& app) {
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("augment", "a picture of what the networks of a stage will see");
  given->recipe.add_to(*command);
  command->add_option("--stage", given->stage, "which stage; its only one where left out");
  command->add_option("--out", given->output, "the PNG file to write")->capture_default_str();
  command->add_option("--rows", given->rows, "samples")->capture_default_str()->check(CLI::Range(1, 64));
  command->add_option("--columns", given->columns, "epochs")->capture_default_str()->check(CLI::Range(1, 64));
  command->callback([given] { show_augmentations(*given); });
}

}  // namespace kd::cli
