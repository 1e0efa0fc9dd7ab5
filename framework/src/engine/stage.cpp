// stage.h: builds what a stage needs, then runs its loop.
#include "engine/stage.h"

#include <fmt/format.h>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/device.h"
#include "engine/networks.h"
#include "engine/stage_loop.h"
#include "engine/stage_parts.h"
#include "engine/stage_store.h"
#include "engine/stop.h"
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
  std::filesystem::create_directories(folder);
  bool said = false;
  const FileLock lock(kept.string() + ".lock", [&] {
    if (!said) context.progress.say(fmt::format("stage {}: waiting for another process that trains it", plan.name));
    said = true;
    throw_if_stopped(fmt::format("while stage '{}' waited for another process", plan.name));
  });
  if (auto result = context.fresh ? std::nullopt : read_result(folder)) {
    replay_records(folder / "metrics.jsonl", context);
    return *result;
  }
  write_file(folder / "settings.toml", write_recipe(plan.resolved));
  parts.prepare();
  context.progress.say(fmt::format("stage {}: {}", plan.name, parts.describe()));
  const auto checkpoint = newest_checkpoint(folder / "ckpt");
  if (!checkpoint) std::filesystem::remove(folder / "metrics.jsonl");
  StageLoop loop(plan, context, parts, folder);
  if (checkpoint) {
    loop.restore(read_checkpoint(*checkpoint));
    replay_records(folder / "metrics.jsonl", context);
  }
  StageResult result = loop.run();
  result.fingerprint = fingerprint;
  write_result(result);
  if (context.fresh) {
    const std::filesystem::path replaced = kept.string() + ".replaced";
    std::filesystem::remove_all(replaced);
    if (std::filesystem::exists(kept)) std::filesystem::rename(kept, replaced);
    std::filesystem::rename(folder, kept);
    std::filesystem::remove_all(replaced);
    result.folder = kept;
  }
  return result;
}

void check_stage(const StagePlan& plan, const RunContext& context, Diagnostics& diagnostics) {
  try {
    StageParts parts(plan, context);
    parts.check();
  } catch (const Error& error) {
    // Errors of components carry their place already.
    diagnostics.error({}, fmt::format("stage '{}': {}", plan.name, error.what()));
  } catch (const std::exception& error) {
    diagnostics.error(plan.location, fmt::format("stage '{}': {}", plan.name, message_of(error)));
  }
}

}  // namespace kd
