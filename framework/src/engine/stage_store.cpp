// stage_store.h
#include "engine/stage_store.h"

#include <fmt/format.h>
#include <torch/version.h>

#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/device.h"
#include "engine/numerics_digest.h"
#include "files/atomic_file.h"
#include "files/digest.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "plugin/registry.h"
#include "record/checkpoint.h"

namespace kd {
namespace {

/// Settings of a stage that change its speed, not its result.
constexpr std::array kWithoutEffect = {"evaluation_batch_size", "checkpoint_seconds", "teacher_cache", "keep_images",
                                       "loader_threads",        "teachers",           "precision",     "cuda_graph"};

nlohmann::ordered_json to_json(const NetworkResult& network) {
  return {{"name", network.name},
          {"model", network.model.type},
          {"model_parameters", network.model.parameters.to_toml()},
          {"parameters", network.parameters},
          {"test", to_json(network.test)}};
}

NetworkResult network_from_json(const nlohmann::json& json) {
  NetworkResult network;
  network.name = json.at("name");
  network.parameters = json.at("parameters");
  network.model = {"model",
                   json.at("model"),
                   Value::parse(json.at("model_parameters").get<std::string>()),
                   Value(Value::Table{}),
                   {}};
  network.test = classification_from_json(json.at("test"));
  return network;
}

/// The libraries of every component that a table names, nested ones included.
void collect_libraries(const Value& value, std::set<std::filesystem::path>& libraries) {
  if (value.is_list()) {
    for (const Value& item : value.as_list()) collect_libraries(item, libraries);
  }
  if (!value.is_table()) return;
  const Value* type = value.find("type");
  for (const RegisteredComponent* component : registry().components()) {
    if (type != nullptr && type->is_string() && component->name == type->as_string() &&
        std::filesystem::is_regular_file(component->library)) {
      libraries.insert(component->library);
    }
  }
  for (const Member& member : value.as_table()) collect_libraries(member.value, libraries);
}

}  // namespace

std::string source_identity(const NetworkSource& source, const RunContext& context) {
  std::string fingerprint;
  if (!source.file.empty()) {
    fingerprint = file_digest(source.file);
  } else if (!source.run.empty()) {
    const auto result = read_result(std::filesystem::path(source.run) / "stages" / source.stage);
    if (!result) throw FileError(source.run + " holds no finished stage '" + source.stage + "'");
    fingerprint = result->fingerprint;
  } else {
    fingerprint = context.finished.at(source.stage).fingerprint;
  }
  return fmt::format("{} {} {}", fingerprint, source.network, source.checkpoint);
}

std::string teacher_identity(const TeacherPlan& teacher, const RunContext& context) {
  const std::string model = teacher.file.empty() ? "" : teacher.model.type + teacher.model.parameters.to_toml();
  return model + source_identity(teacher, context);
}

std::string numerics_digest() { return KD_NUMERICS_DIGEST; }

std::string stage_fingerprint(const StagePlan& plan, const RunContext& context, const std::string& data_fingerprint,
                              const std::string& precision) {
  Value settings = plan.resolved;
  for (const char* key : kWithoutEffect) settings.erase(key);
  Digest digest;
  digest.add(fmt::format("numerics {} torch {} seed {} device {} {} precision {} steps {} deterministic {}\n",
                         KD_NUMERICS_DIGEST, TORCH_VERSION, context.plan.seed,
                         context.device.is_cuda() ? "cuda" : "cpu", device_identity(context.device), precision,
                         context.max_steps, context.deterministic));
  digest.add(settings.to_toml()).add(data_fingerprint);
  // A plugin that was edited gives another result under the same settings.
  std::set<std::filesystem::path> libraries;
  collect_libraries(settings, libraries);
  for (const auto& library : libraries) digest.add(library.filename().string() + file_digest(library));
  for (const TeacherPlan& teacher : plan.teachers) {
    digest.add(fmt::format("\nteacher {} {} {} {}", teacher_identity(teacher, context), teacher.weight,
                           teacher.temperature, teacher.training_mode));
  }
  for (const NetworkPlan& network : plan.networks) {
    if (network.init) digest.add(fmt::format("\nbegins with {}", source_identity(*network.init, context)));
  }
  return digest.hex();
}

std::filesystem::path stage_folder(const RunContext& context, const std::string& stage,
                                   const std::string& fingerprint) {
  return context.runs_folder / ".stages" / (stage + "-" + fingerprint.substr(0, 16));
}

namespace {

/// SHA-256 of a result without its own digest.
std::string digest_of(nlohmann::ordered_json json) {
  json.erase("digest");
  return Digest().add(json.dump()).hex();
}

StageResult checked_result(const std::filesystem::path& folder) {
  const auto json = nlohmann::ordered_json::parse(read_text(folder / "result.json"));
  if (json.at("digest") != digest_of(json)) throw FileError((folder / "result.json").string() + " was changed");
  StageResult result;
  result.stage = json.at("stage");
  result.fingerprint = json.at("fingerprint");
  result.folder = folder;
  result.epochs = json.at("epochs");
  result.seconds = json.at("seconds");
  result.precision = json.at("precision");
  result.reused = true;
  for (const auto& network : json.at("networks")) result.networks.push_back(network_from_json(network));
  if (result.networks.empty()) throw FileError((folder / "result.json").string() + " names no network");
  for (const char* checkpoint : {"last", "best"}) verify_checkpoint(folder / "ckpt" / checkpoint);
  return result;
}

}  // namespace

void write_result(const StageResult& result, const std::string& settings) {
  write_file(result.folder / "settings.toml", settings);
  nlohmann::ordered_json json{{"stage", result.stage},
                              {"fingerprint", result.fingerprint},
                              {"epochs", result.epochs},
                              {"seconds", result.seconds},
                              {"precision", result.precision},
                              {"settings_sha256", Digest().add(settings).hex()},
                              {"networks", nlohmann::json::array()}};
  for (const NetworkResult& network : result.networks) json["networks"].push_back(to_json(network));
  json["digest"] = digest_of(json);
  write_file(result.folder / "result.json", json.dump(2) + "\n");
}

std::optional<StageResult> read_result(const std::filesystem::path& folder, std::string* why) {
  const auto damaged = [why](const std::string& reason) -> std::optional<StageResult> {
    if (why != nullptr) *why = reason;
    return std::nullopt;
  };
  if (!std::filesystem::exists(folder / "result.json")) return damaged("");
  try {
    return checked_result(folder);
  } catch (const FileError& error) {
    return damaged(error.what());
  } catch (const nlohmann::json::exception&) {
    return damaged((folder / "result.json").string() + " is damaged");
  }
}

void heal_settings(const std::filesystem::path& folder, const std::string& settings) {
  const auto json = nlohmann::json::parse(read_text(folder / "result.json"));
  const std::filesystem::path file = folder / "settings.toml";
  const bool intact = std::filesystem::is_regular_file(file) && file_digest(file) == json.value("settings_sha256", "");
  if (!intact) write_file(file, settings);
}

std::filesystem::path network_file(const StageResult& stage, const std::string& network,
                                   const std::string& checkpoint) {
  const std::string name = network.empty() ? stage.networks.front().name : network;
  verify_checkpoint(stage.folder / "ckpt" / checkpoint);
  return stage.folder / "ckpt" / checkpoint / (name + ".safetensors");
}

}  // namespace kd
