// The folder of a sweep: what became of each point, so that the same command goes on with what is missing.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "files/file_lock.h"
#include "kd/api.h"
#include "kd/table.h"
#include "recipe/sweep.h"

namespace kd {

enum class PointStatus { kWaiting, kRunning, kDone, kFailed, kStopped };

/// "waiting", "running", "done", "failed" or "stopped".
KD_API std::string name_of(PointStatus status);

struct KD_API PointState {
  PointStatus status = PointStatus::kWaiting;
  std::string reason;         ///< why it failed
  std::filesystem::path run;  ///< its run folder; empty before it has one
  double seconds = 0;         ///< from its start to its end
};

/// <runs>/<recipe>.sweep/<8 digits of what determines the points>.
class KD_API SweepFolder {
 public:
  /// Makes the folder, or opens it and reads what became of the points; a point whose run is gone waits again.
  /// `options` are what else determines the results, such as --max-steps. Throws Error where another process runs this
  /// sweep.
  SweepFolder(const std::filesystem::path& runs, const SweepPlan& plan, const std::string& options);

  const std::filesystem::path& path() const { return path_; }
  std::vector<PointState>& states() { return states_; }
  const std::vector<PointState>& states() const { return states_; }
  std::filesystem::path log_file(std::size_t point) const;
  /// Where a point that a scheduler starts writes what `kdrun run --events` tells, and how it ended.
  std::filesystem::path events_file(std::size_t point) const;
  /// Learns from those files what became of points that are not done.
  void read_events();
  /// Takes every point for one that was never trained.
  void forget();
  /// Writes sweep.json, points.csv and points.json.
  void write() const;

 private:
  void read_states();

  const SweepPlan& plan_;
  std::filesystem::path path_;
  std::unique_ptr<FileLock> lock_;
  std::vector<PointState> states_;
};

/// A row for each point: settings, seed, status, run, and the results under names as --metric takes them
/// ("student/test/top1").
KD_API Table points_table(const SweepPlan& plan, const std::vector<PointState>& states);

/// "student/test/top1", or "pair/net_2/test/top1" where a stage has several networks; `table` is a run's summary.
KD_API std::vector<std::string> metric_names(const Table& summary);

/// The numbers of a summary in the order of metric_names().
KD_API std::vector<double> metric_values(const Table& summary);

}  // namespace kd
