// kdrun import: takes weights that others published, checks them against a network, and keeps them as safetensors.
#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cli/command.h"
#include "data/training_data.h"
#include "engine/stored.h"
#include "record/weights.h"

namespace kd::cli {
namespace {

struct Arguments {
  std::string file, model, data = "{ type = \"glyphs\", like = \"cifar100\" }", root, output;
  std::string prefix, augment = ImportRequest{}.augment;
  std::vector<std::string> folders, renamed;
  bool evaluate = false;
};

void show(const TensorMap& weights) {
  for (const auto& [name, tensor] : weights) {
    fmt::print("{:<48} {:<10} {}\n", name, c10::toString(tensor.scalar_type()), c10::str(tensor.sizes()));
  }
}

std::vector<std::pair<std::string, std::string>> parse_renaming(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      throw RecipeError({}, fmt::format("--rename wants FROM=TO, and this is '{}'", text), "for example linear.=fc.");
    names.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return names;
}

/// The file that is written if none is named. The 0001 of `val_loss0.0001` is no extension.
std::filesystem::path beside(std::filesystem::path file) {
  const std::string extension = file.extension().string();
  const bool known = extension == ".pth" || extension == ".pt" || extension == ".ckpt" || extension == ".tar";
  return known ? file.replace_extension(".safetensors") : file += ".safetensors";
}

void take_weights(const Arguments& given) {
  load_plugins_with_warnings(given.folders);
  const auto output = given.output.empty() ? beside(given.file) : std::filesystem::path(given.output);
  if (!given.model.empty() && std::filesystem::exists(output))
    throw Error(output.string() + " exists already; nothing was written. Give another name with --out");
  const Weights weights = read_weights(given.file);
  if (given.model.empty()) {
    show(weights.tensors);
    for (const std::string& note : weights.notes) fmt::print("{}\n", note);
    fmt::print("{} tensors; --model '{{ type = … }}' checks them against a network and keeps them\n",
               weights.tensors.size());
    return;
  }
  const ImportedWeights imported = import_weights(weights, {.source = given.file,
                                                            .model = given.model,
                                                            .data = given.data,
                                                            .prefix = given.prefix,
                                                            .renamed = parse_renaming(given.renamed),
                                                            .evaluate = given.evaluate,
                                                            .augment = given.augment,
                                                            .data_root = data_root(given.root)});
  write_safetensors(output, imported.tensors, {{"format", "pt"}});
  for (const std::string& note : imported.notes) fmt::print("{}\n", note);
  fmt::print("{}: {} tensors fit '{}' ({} parameters); wrote {}\n", given.file, imported.tensors.size(),
             imported.network.model.type, imported.network.parameters, output.string());
  if (given.evaluate)
    fmt::print("test accuracy {:.2f} %, NLL {:.4f} ({} images)\n", 100 * imported.network.test.top1,
               imported.network.test.nll, imported.network.test.samples);
  fmt::print("as a teacher: {{ file = \"{}\", model = {} }}\n", output.string(), given.model);
}

}  // namespace

void add_import(CLI::App& app) {
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("import", "take weights that others published (.pth, .safetensors)");
  command->add_option("file", given->file, "a file of torch.save, or safetensors")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("--model", given->model, "the network, as a TOML table; left out: the names are listed");
  command->add_option("--data", given->data, "the data set it is for, as a TOML table: its shape and classes count")
      ->capture_default_str();
  command->add_flag("--evaluate", given->evaluate, "also measures it on the test split, which must be there");
  command
      ->add_option("--augment", given->augment,
                   "how the network was trained to see images, as a recipe says it; [] for pixels in [0, 1]")
      ->capture_default_str();
  command->add_option("--data-root", given->root, "where the data sets are");
  command->add_option("--out", given->output, "the file to write; left out: beside the given one, as .safetensors");
  command->add_option("--plugin-dir", given->folders, "more folders with plugins")->allow_extra_args(false);
  command->add_option("--prefix", given->prefix, "takes only names that begin so, and takes it off, as student.")
      ->type_name("TEXT");
  command->add_option("--rename", given->renamed, "FROM=TO: names that begin with FROM begin with TO, as linear.=fc.")
      ->allow_extra_args(false);
  command->footer(
      "Examples:\n"
      "  kdrun import resnet32x4.pth\n"
      "  kdrun import resnet32x4.pth --model '{ type = \"resnet\", depth = 32, width = 4 }'\n"
      "  kdrun import net.pth --model '{ type = \"resnet\", depth = 20 }' --rename linear.=fc.");
  command->callback([given] { take_weights(*given); });
}

}  // namespace kd::cli
