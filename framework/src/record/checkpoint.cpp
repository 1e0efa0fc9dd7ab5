// checkpoint.h
#include "record/checkpoint.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "files/atomic_file.h"
#include "files/digest.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

constexpr const char* kManifest = "MANIFEST.json";
constexpr const char* kTraining = "training.safetensors";
constexpr const char* kState = "state.json";
constexpr std::string_view kNetworkEnding = ".safetensors";

/// Checks every file against the manifest; returns their names.
std::vector<std::string> check_manifest(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  const auto manifest = nlohmann::json::parse(read_text(folder / kManifest), nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_object() || !manifest.contains("files"))
    throw FileError((folder / kManifest).string() + " is damaged");
  for (const auto& [name, entry] : manifest["files"].items()) {
    const std::filesystem::path file = folder / name;
    std::error_code error;
    if (std::filesystem::file_size(file, error) != entry.value("bytes", std::uintmax_t{0}) || error) {
      throw FileError(file.string() + " is missing or of another size than its manifest says");
    }
    if (file_digest(file) != entry.value("sha256", ""))
      throw FileError(file.string() + " is damaged: its SHA-256 differs from its manifest");
    names.push_back(name);
  }
  return names;
}

/// The name of the best checkpoint of a stage when `checkpoint` was written.
std::string best_of(const std::filesystem::path& checkpoint) {
  const auto state = nlohmann::json::parse(read_text(checkpoint / kState), nullptr, /*allow_exceptions=*/false);
  if (!state.is_object()) throw FileError((checkpoint / kState).string() + " is damaged");
  return state.value("best", checkpoint.filename().string());
}

}  // namespace

std::string adapters_name(const std::string& network) { return network + ".adapters"; }

std::filesystem::path adapters_file(const std::filesystem::path& weights) {
  return weights.parent_path() / (adapters_name(weights.stem().string()) + std::string(kNetworkEnding));
}

std::string checkpoint_name(std::int64_t step) { return fmt::format("step-{:08}", step); }

void repair_links(const std::filesystem::path& checkpoint) {
  replace_link(checkpoint.parent_path() / "last", checkpoint.filename());
  replace_link(checkpoint.parent_path() / "best", best_of(checkpoint));
}

std::filesystem::path write_checkpoint(const std::filesystem::path& folder, std::int64_t step,
                                       const Checkpoint& checkpoint) {
  std::filesystem::create_directories(folder);
  const std::filesystem::path result = folder / checkpoint_name(step);
  const std::filesystem::path temporary = folder / fmt::format(".tmp-{}", ::getpid());
  std::filesystem::remove_all(temporary);
  std::filesystem::create_directories(temporary);
  for (const auto& [name, state] : checkpoint.networks) {
    write_safetensors(temporary / (name + std::string(kNetworkEnding)), state, {{"format", "pt"}});
  }
  if (!checkpoint.training.empty()) write_safetensors(temporary / kTraining, checkpoint.training);
  write_file(temporary / kState, checkpoint.state);
  nlohmann::json manifest;
  for (const auto& file : std::filesystem::directory_iterator(temporary)) {
    manifest["files"][file.path().filename().string()] = {{"bytes", file.file_size()},
                                                          {"sha256", file_digest(file.path())}};
  }
  write_file(temporary / kManifest, manifest.dump(2) + "\n");
  flush_to_disk(temporary);
  replace_folder(result, temporary);  // there may be one of the same step
  return result;
}

void verify_checkpoint(const std::filesystem::path& folder) { check_manifest(folder); }

Checkpoint read_checkpoint(const std::filesystem::path& folder) {
  Checkpoint checkpoint;
  for (const std::string& name : check_manifest(folder)) {
    if (name == kState) {
      checkpoint.state = read_text(folder / name);
    } else if (name == kTraining) {
      checkpoint.training = read_safetensors(folder / name);
    } else if (name.ends_with(kNetworkEnding)) {
      checkpoint.networks[name.substr(0, name.size() - kNetworkEnding.size())] = read_safetensors(folder / name);
    }
  }
  return checkpoint;
}

std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> candidates;
  std::error_code error;
  for (const auto& item : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = item.path().filename().string();
    if (name.starts_with("step-")) candidates.push_back(folder / name.substr(0, name.find('.')));
  }
  const auto step_of = [](const std::filesystem::path& path) {
    return std::strtoll(path.filename().c_str() + std::strlen("step-"), nullptr, 10);
  };
  std::sort(candidates.begin(), candidates.end(),
            [&](const auto& a, const auto& b) { return step_of(a) > step_of(b); });
  for (const std::filesystem::path& candidate : candidates) {
    recover_folder(candidate);
    try {
      check_manifest(candidate);
      const std::filesystem::path best = folder / best_of(candidate);
      if (best != candidate) check_manifest(best);
      return candidate;
    } catch (const FileError&) {
      continue;
    }
  }
  return std::nullopt;
}

void remove_old_checkpoints(const std::filesystem::path& folder) {
  std::set<std::filesystem::path> kept;
  for (const char* link : {"last", "best"}) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(folder / link, error);
    if (!error) kept.insert(folder / target);
  }
  std::vector<std::filesystem::path> old;
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    const std::string name = item.path().filename().string();
    if (!item.is_symlink() && (name.starts_with("step-") || name.starts_with(".tmp-")) && !kept.contains(item.path()))
      old.push_back(item.path());
  }
  for (const std::filesystem::path& path : old) std::filesystem::remove_all(path);
}

}  // namespace kd
