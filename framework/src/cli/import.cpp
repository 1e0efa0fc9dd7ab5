// kdrun import: takes weights that others published, checks them against a network, and keeps them as safetensors.
#include <fmt/format.h>

#include "cli/command.h"
#include "data/training_data.h"
#include "engine/stored.h"
#include "record/weights.h"

namespace kd::cli {
namespace {

struct Arguments {
  std::string file, model, data = "{ type = \"glyphs\", like = \"cifar100\" }", root, output;
  std::vector<std::string> folders;
  bool evaluate = false;
};

void show(const TensorMap& weights) {
  for (const auto& [name, tensor] : weights) {
    fmt::print("{:<48} {:<10} {}\n", name, c10::toString(tensor.scalar_type()), c10::str(tensor.sizes()));
  }
}

void import_weights(const Arguments& given) {
  load_plugins_with_warnings(given.folders);
  const TensorMap weights = read_weights(given.file);
  if (given.model.empty()) {
    show(weights);
    fmt::print("{} tensors; --model '{{ type = … }}' checks them against a network and keeps them\n", weights.size());
    return;
  }
  const std::filesystem::path output = given.output.empty()
                                           ? std::filesystem::path(given.file).replace_extension(".safetensors")
                                           : std::filesystem::path(given.output);
  if (std::filesystem::exists(output))
    throw Error(output.string() + " exists already; nothing was written. Give another name with --out");
  const NetworkResult imported =
      check_weights(weights, given.file, given.model, given.data, given.evaluate, data_root(given.root));
  write_safetensors(output, weights, {{"format", "pt"}});
  fmt::print("{}: {} tensors fit '{}' ({} parameters); wrote {}\n", given.file, weights.size(), imported.model.type,
             imported.parameters, output.string());
  if (given.evaluate)
    fmt::print("test accuracy {:.2f} %, NLL {:.4f} ({} images)\n", 100 * imported.test.top1, imported.test.nll,
               imported.test.samples);
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
  command->add_option("--data-root", given->root, "where the data sets are");
  command->add_option("--out", given->output, "the file to write; left out: beside the given one, as .safetensors");
  command->add_option("--plugin-dir", given->folders, "more folders with plugins")->allow_extra_args(false);
  command->callback([given] { import_weights(*given); });
}

}  // namespace kd::cli
