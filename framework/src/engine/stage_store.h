// Where finished stages are kept: under a fingerprint of everything that determines them, so that any recipe can use
// them again.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/run_context.h"

namespace kd {

/// Changes with the engine's source: another engine gives other numbers.
KD_API std::string numerics_digest();

/// SHA-256 over the stage's settings, its data, seed, device and precision, the fingerprints of its teachers and of the
/// stages that its networks begin with, and the version of kdrun's arithmetic. Settings that change speed only do not
/// count.
KD_API std::string stage_fingerprint(const StagePlan& plan, const RunContext& context,
                                     const std::string& data_fingerprint, const std::string& precision);

/// <runs>/.stages/<stage>-<first 16 digits>
KD_API std::filesystem::path stage_folder(const RunContext& context, const std::string& stage,
                                          const std::string& fingerprint);

/// What a teacher's answers follow from: its weights, by the fingerprint of their stage or file.
KD_API std::string teacher_identity(const TeacherPlan& teacher, const RunContext& context);

/// Writes settings.toml and result.json, which holds the digests of both: a changed number or setting is found out.
KD_API void write_result(const StageResult& result, const std::string& settings);
/// The result in `folder` if a stage was finished there and its numbers and networks are intact; else `why` says what
/// is not, or is empty where no stage was finished.
KD_API std::optional<StageResult> read_result(const std::filesystem::path& folder, std::string* why = nullptr);
/// Writes settings.toml anew where it is not what the result was made with.
KD_API void heal_settings(const std::filesystem::path& folder, const std::string& settings);

/// The weights of a network of a finished stage. `checkpoint` is "last" or "best". Throws FileError where it is
/// damaged.
KD_API std::filesystem::path network_file(const StageResult& stage, const std::string& network,
                                          const std::string& checkpoint);

}  // namespace kd
