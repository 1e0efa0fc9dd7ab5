// stage.h: builds what a stage needs, then runs its loop.
#include "engine/stage.h"

#include <fmt/format.h>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/device.h"
#include "engine/stage_loop.h"
#include "engine/stage_parts.h"
#include "engine/stage_store.h"
#include "engine/stop.h"
#include "engine/trial.h"
#include "files/atomic_file.h"
#include "record/checkpoint.h"

namespace kd {
namespace {

/// Copies what an earlier, cut-off process recorded of this stage to the sinks of this run.
void replay_records(const std::filesystem::path& file, const RunContext& context) {
  const std::vector<Record> records = read_records(file);
  for (Sink* sink : context.sinks) sink->write(records);
}

}  // namespace

StageResult run_stage(const StagePlan& plan, RunContext& context) {
  throw_if_stopped(fmt::format("before stage '{}'", plan.name));
  StageParts parts(plan, context);
  const std::string fingerprint =
      stage_fingerprint(plan, context, parts.training_data().fingerprint, parts.precision_name());
  const std::filesystem::path kept = stage_folder(context, plan.name, fingerprint);
  // A stage that is trained anew replaces the one that is there only once it is finished.
  const std::filesystem::path folder = context.fresh ? std::filesystem::path(kept.string() + ".fresh") : kept;
  std::filesystem::create_directories(kept.parent_path());
  bool said = false;
  const FileLock lock(kept.string() + ".lock", [&] {
    if (!said) context.progress.say(fmt::format("stage {}: waiting for another process that trains it", plan.name));
    said = true;
    throw_if_stopped(fmt::format("while stage '{}' waited for another process", plan.name));
  });
  recover_folder(kept);
  const std::string settings = write_recipe(plan.resolved);
  std::string damage;
  if (auto result = context.fresh ? std::nullopt : read_result(folder, &damage)) {
    heal_settings(folder, settings);
    replay_records(folder / "metrics.jsonl", context);
    return *result;
  }
  std::filesystem::create_directories(folder);
  write_file(folder / "settings.toml", settings);
  parts.prepare();
  context.progress.say(fmt::format("stage {}: {}", plan.name, parts.describe()));
  const auto checkpoint = newest_checkpoint(folder / "ckpt");
  if (!damage.empty()) {
    context.progress.warn(
        fmt::format("stage {}: what was kept of it is damaged ({}): {}", plan.name, damage,
                    checkpoint ? "it goes on from " + checkpoint->filename().string() : "it is trained anew"));
  }
  if (!checkpoint) {  // what is left cannot be gone on from
    std::filesystem::remove(folder / "metrics.jsonl");
    std::filesystem::remove_all(folder / "ckpt");
  }
  StageLoop loop(plan, context, parts, folder);
  if (checkpoint) {
    loop.restore(*checkpoint);
    replay_records(folder / "metrics.jsonl", context);
  }
  StageResult result = loop.run();
  result.fingerprint = fingerprint;
  write_result(result, settings);
  if (context.fresh) {
    replace_folder(kept, folder);
    result.folder = kept;
  }
  return result;
}

void check_stage(const StagePlan& plan, const RunContext& context, Diagnostics& diagnostics) {
  const std::string what = fmt::format("stage '{}'", plan.name);
  try {
    call_component(what, [&] {
      check_schedules(plan, context, diagnostics);
      warn_of_settings(plan, context);
      StageParts parts(plan, context);
      parts.prepare_trial();
      try_steps(plan, parts);
    });
  } catch (const std::exception& error) {
    diagnostics.add(error, plan.location, what);
  }
}

}  // namespace kd
