// Checkpoints: folders that are intact or are not checkpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "kd/api.h"
#include "record/safetensors.h"

namespace kd {

/// What a network's adapters are called beside it.
KD_API std::string adapters_name(const std::string& network);
/// The file of the adapters of the network whose weights are in `weights`.
KD_API std::filesystem::path adapters_file(const std::filesystem::path& weights);

/// All that a stage needs to go on, or to be used.
struct KD_API Checkpoint {
  /// By network name: what Python's state_dict holds; and its adapters under adapters_name().
  std::map<std::string, TensorMap> networks;
  TensorMap training;  ///< optimizers, averages, meters; empty in a stage that is finished
  std::string state;   ///< JSON of the stage loop
};

/// Writes `folder`/step-XXXXXXXX as a whole: files, their flush, a manifest with sizes and SHA-256, a rename, and the
/// flush of the folder. Returns its path.
KD_API std::filesystem::path write_checkpoint(const std::filesystem::path& folder, std::int64_t step,
                                              const Checkpoint& checkpoint);

/// Throws FileError where the manifest is missing or a file differs from it.
KD_API void verify_checkpoint(const std::filesystem::path& checkpoint);

/// Throws as verify_checkpoint does.
KD_API Checkpoint read_checkpoint(const std::filesystem::path& checkpoint);

/// The newest intact checkpoint in `folder`, if any. Damaged ones are passed over, and those whose best checkpoint so
/// far
/// (`best` in their state) is damaged: what they would go on to give is not to be had any more.
KD_API std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder);

/// Lets `last` and `best` point to this checkpoint and to the one that its state names: a kill may have struck before.
KD_API void repair_links(const std::filesystem::path& checkpoint);

/// The name of a checkpoint's folder.
KD_API std::string checkpoint_name(std::int64_t step);

/// Removes the checkpoints in `folder` that neither `last` nor `best` points to.
KD_API void remove_old_checkpoints(const std::filesystem::path& folder);

}  // namespace kd
