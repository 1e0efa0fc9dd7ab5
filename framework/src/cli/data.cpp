// kdrun data: fetches data sets from their official sources and verifies them.
#include <fmt/format.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/output.h"
#include "data/training_data.h"
#include "files/fetch_data.h"
#include "plugin/registry.h"

namespace kd::cli {
namespace {

DataSource find_source(const std::string& name) {
  std::vector<std::string> names;
  for (const DataSource& source : data_sources()) {
    if (source.name == name) return source;
    names.push_back(source.name);
  }
  throw RecipeError({}, fmt::format("there is no source for a data set '{}'", name), name_hint(name, names));
}

void fetch(const std::string& name, const std::filesystem::path& root, const std::string& mirror) {
  const DataSource source = find_source(name);
  if (verify_data(source, root).empty()) {
    fmt::print("{}: already there, in {}\n", name, (root / source.folder).string());
    return;
  }
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  fetch_data(source, root, mirror, [&](std::int64_t bytes, std::int64_t total) {
    if (terminal)
      write_error(fmt::format("\r\033[K{}: {:.1f} of {:.1f} MB", name, static_cast<double>(bytes) / 1e6,
                              static_cast<double>(total) / 1e6));
  });
  if (terminal) write_error("\r\033[K");
  fmt::print("{}: fetched and verified, in {}\n", name, (root / source.folder).string());
}

/// Returns whether everything that was asked for is whole.
bool verify(const std::vector<std::string>& names, const std::filesystem::path& root) {
  if (!std::filesystem::is_directory(root)) throw FileError("there is no folder " + root.string());
  bool whole = true;
  for (const DataSource& source : data_sources()) {
    const bool named = std::find(names.begin(), names.end(), source.name) != names.end();
    if (!names.empty() && !named) continue;
    if (names.empty() && !std::filesystem::exists(root / source.folder)) {
      fmt::print("{}: not there; kdrun data fetch {}\n", source.name, source.name);
      continue;
    }
    const std::vector<std::string> problems = verify_data(source, root);
    whole &= problems.empty();
    if (problems.empty()) fmt::print("{}: ok, {}\n", source.name, (root / source.folder).string());
    for (const std::string& problem : problems) fmt::print("{}: {}\n", source.name, problem);
  }
  return whole;
}

}  // namespace

void add_data(CLI::App& app) {
  struct Arguments {
    std::vector<std::string> names;
    std::string root, mirror;
    std::vector<std::string> folders;
  };
  CLI::App* command = app.add_subcommand("data", "fetch and verify data sets");
  command->require_subcommand(1);
  auto given = std::make_shared<Arguments>();
  CLI::App* fetching = command->add_subcommand("fetch", "get a data set from its official source");
  fetching->add_option("name", given->names, "a data set that says where it comes from: mnist, cifar100, …")
      ->required();
  fetching->add_option("--mirror", given->mirror, "URL of a folder with the same archives");
  CLI::App* verifying = command->add_subcommand("verify", "check the SHA-256 of data sets that are there");
  verifying->add_option("name", given->names, "only these");
  for (CLI::App* sub : {fetching, verifying}) {
    sub->add_option("--data-root", given->root, "where the data sets are");
    sub->add_option("--plugin-dir", given->folders, "more folders with plugins")->allow_extra_args(false);
  }
  fetching->callback([given] {
    load_plugins_with_warnings(given->folders);
    for (const std::string& name : given->names) fetch(name, data_root(given->root), given->mirror);
  });
  verifying->callback([given] {
    load_plugins_with_warnings(given->folders);
    for (const std::string& name : given->names) find_source(name);
    if (!verify(given->names, data_root(given->root)))
      throw FileError("some files are missing or wrong; kdrun data fetch NAME mends that");
  });
}

}  // namespace kd::cli
