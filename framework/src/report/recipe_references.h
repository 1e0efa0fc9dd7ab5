// What the resolved recipe of a run has to do with other runs and with kept stages.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

/// A place of a recipe that names a run, as { run = "runs/ekd/…", stage = "teacher" } does.
struct KD_API RunReference {
  std::string stage;  ///< empty where the place names none
};

/// The places of the recipe `file` that name the run folder `run`, by its own name and that of the folder it lies in:
/// which folder a relative path counted from is not known. None where the file cannot be read.
KD_API std::vector<RunReference> references_to(const std::filesystem::path& run, const std::filesystem::path& file);

/// Whether the recipe `file` has a stage `name`; true where the file cannot be read, since it may.
KD_API bool has_stage(const std::filesystem::path& file, const std::string& name);

}  // namespace kd
