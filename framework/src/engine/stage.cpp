// stage.h: builds what a stage needs, then runs its loop.
#include "engine/stage.h"

#include <ATen/ops/zeros.h>
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
#include "files/file_lock.h"
#include "record/checkpoint.h"

namespace kd {
namespace {

/// Copies what an earlier, cut-off process recorded of this stage to the sinks of this run.
void replay_records(const std::filesystem::path& file, const RunContext& context) {
  const std::vector<Record> records = read_records(file);
  for (Sink* sink : context.sinks) sink->write(records);
}

}  // namespace

namespace {

/// Whether the first process of a group has the lock. The others ask again and again, since a single question would be
/// taken for that of a lost process after a while. Throws where one of them is asked to stop.
bool has_lock(bool own, const StagePlan& plan, Group& group) {
  const at::Tensor votes = at::zeros({2}, at::TensorOptions().dtype(at::kLong));
  auto* vote = votes.mutable_data_ptr<std::int64_t>();
  vote[0] = own ? 1 : 0;
  vote[1] = stop_requested() ? 1 : 0;
  group.sum({votes});
  if (vote[0] == 0 && vote[1] > 0) {
    throw Error(
        fmt::format("stopped while stage '{}' waited for another run; the same command goes on from there", plan.name),
        ExitCode::kResumable);
  }
  return vote[0] > 0;
}

/// Waits until no other run trains the stage; of a group, its first process holds the lock. Null in the others.
std::unique_ptr<FileLock> lock_stage(const std::filesystem::path& folder, const StagePlan& plan, RunContext& context) {
  Group& group = *context.group;
  if (!group.is_first()) {
    while (!has_lock(false, plan, group)) {
    }
    return nullptr;
  }
  std::filesystem::create_directories(folder.parent_path());
  bool said = false;
  auto lock = std::make_unique<FileLock>(folder.string() + ".lock", [&](const std::string& holder) {
    if (!said) {
      context.progress.say(fmt::format("stage {}: waiting for another process that trains it{}", plan.name,
                                       holder.empty() ? "" : fmt::format(" ({})", holder)));
    }
    said = true;
    has_lock(false, plan, group);
  });
  recover_folder(folder);
  has_lock(true, plan, group);
  return lock;
}

/// Makes the folder ready to be trained in, from `checkpoint` on where there is one.
void prepare_folder(const std::filesystem::path& folder, const std::string& settings, bool has_checkpoint) {
  std::filesystem::create_directories(folder);
  write_file(folder / "settings.toml", settings);
  if (has_checkpoint) return;
  std::filesystem::remove(folder / "metrics.jsonl");  // what is left cannot be gone on from
  std::filesystem::remove_all(folder / "ckpt");
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
  const auto lock = lock_stage(kept, plan, context);
  const std::string settings = write_recipe(plan.resolved);
  std::string damage;
  if (auto result = context.fresh ? std::nullopt : read_result(folder, &damage)) {
    if (context.group->is_first()) heal_settings(folder, settings);
    replay_records(folder / "metrics.jsonl", context);
    return *result;
  }
  const auto checkpoint = newest_checkpoint(folder / "ckpt");
  context.group->wait();  // until every process has looked
  if (context.group->is_first()) prepare_folder(folder, settings, checkpoint.has_value());
  parts.prepare();
  context.progress.say(fmt::format("stage {}: {}", plan.name, parts.describe()));
  if (!damage.empty()) {
    context.progress.warn(
        fmt::format("stage {}: what was kept of it is damaged ({}): {}", plan.name, damage,
                    checkpoint ? "it goes on from " + checkpoint->filename().string() : "it is trained anew"));
  }
  StageLoop loop(plan, context, parts, folder);
  if (checkpoint) {
    loop.restore(*checkpoint);
    replay_records(folder / "metrics.jsonl", context);
  }
  StageResult result = loop.run();
  result.fingerprint = fingerprint;
  if (context.group->is_first()) {
    write_result(result, settings);
    if (context.fresh) replace_folder(kept, folder);
  }
  context.group->wait();
  if (context.fresh) result.folder = kept;
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
