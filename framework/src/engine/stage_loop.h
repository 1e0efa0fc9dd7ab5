// The training loop of a stage: epochs, steps, evaluation, records, checkpoints.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/batch_source.h"
#include "engine/meter.h"
#include "engine/recorded_step.h"
#include "engine/run_context.h"
#include "engine/stage_parts.h"
#include "engine/update_windows.h"
#include "record/checkpoint.h"

namespace kd {

class StageLoop final : public Updater {
 public:
  StageLoop(const StagePlan& plan, RunContext& context, StageParts& parts, std::filesystem::path folder);
  ~StageLoop() override;

  /// Goes on from the checkpoint in this folder, which may lie in the middle of an epoch.
  void restore(const std::filesystem::path& folder);
  StageResult run();

  // Updater
  void update(Network& network, const std::vector<Term>& terms, const Counted& counted) override;
  ScheduleTime time() const override;
  RandomKey key() const override { return parts_.key().with("scheme").with(static_cast<std::uint64_t>(step_)); }
  RandomKey epoch_key() const override { return epoch_key(epoch_).with("scheme"); }

 private:
  using Clock = std::chrono::steady_clock;
  using Numbers = std::map<std::string, double>;

  /// The only thing that a stage without epochs does.
  void take_as_given();
  void run_epoch();
  void run_step();
  /// What a step computes on the batch in hand.
  void compute_step();
  /// Has the teachers answer the next steps of the epoch, where their answers are cached; returns the batch after them.
  std::int64_t prepare_answers();
  void end_epoch();
  void report_step();
  /// Evaluates every network; fills results_ and returns the mean top-1 and NLL that the choice of an epoch follows.
  std::pair<double, double> evaluate(std::map<std::string, Numbers>& numbers);
  void follow(double top1, double loss);
  void write_records(const std::map<std::string, Numbers>& numbers);
  /// Whether the time between two checkpoints has passed.
  bool checkpoint_is_due() const;
  /// Throws where a mean of the epoch so far is not finite.
  void check_meters() const;
  void save(bool finished);
  /// Where each network has a process of its own: the numbers, the results, the weights of all of them.
  void share(std::map<std::string, Numbers>& numbers) const;
  void share(std::vector<NetworkResult>& results, double& top1, double& loss) const;
  void collect(Checkpoint& checkpoint) const;
  void write(bool finished, Checkpoint checkpoint);
  [[noreturn]] void stop();
  void check_finite(const std::string& network, const Numbers& means) const;
  double seconds() const;
  bool steps_are_used_up() const { return context_.max_steps > 0 && step_ >= context_.max_steps; }
  RandomKey epoch_key(std::int64_t epoch) const { return parts_.key().with(static_cast<std::uint64_t>(epoch)); }

  const StagePlan& plan_;
  RunContext& context_;
  StageParts& parts_;
  const std::filesystem::path folder_;
  std::optional<JsonLinesSink> metrics_;  // only the first process of a group writes

  BatchSource source_;
  std::int64_t batches_;  // of an epoch
  std::int64_t epoch_ = 0, batch_ = 0, step_ = 0;
  UpdateWindows windows_;
  RecordedStep recorded_;
  std::map<std::string, TrainingMeter> meters_;
  std::vector<NetworkResult> results_;  // of the chosen epoch
  double best_top1_ = -1;
  double lowest_loss_;
  std::int64_t evaluations_without_gain_ = 0;
  bool is_best_ = false;
  std::string best_;  // name of the best checkpoint so far
  bool stopped_early_ = false;

  double earlier_seconds_ = 0, together_before_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_save_ = start_;
  Clock::time_point epoch_start_ = start_;
  std::int64_t epoch_start_batch_ = 0;
};

}  // namespace kd
