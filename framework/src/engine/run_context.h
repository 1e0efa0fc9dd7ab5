// What the stages of one run share.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/training_data.h"
#include "engine/answer_cache.h"
#include "engine/progress.h"
#include "kd/group.h"
#include "metrics/classification.h"
#include "recipe/plan.h"
#include "record/records.h"

namespace kd {

/// The outcome of one network of a stage.
struct KD_API NetworkResult {
  std::string name;
  ComponentSpec model;
  std::int64_t parameters = 0;
  ClassificationResult test;
};

/// The outcome of a stage, and where it is kept.
struct KD_API StageResult {
  std::string stage;
  std::string fingerprint;
  std::filesystem::path folder;
  std::int64_t epochs = 0;  ///< completed
  double seconds = 0;       ///< of training and evaluation
  bool reused = false;
  std::string precision;
  std::vector<NetworkResult> networks;
};

struct KD_API RunContext {
  const ExperimentPlan& plan;
  at::Device device;
  std::filesystem::path data_root;
  std::filesystem::path runs_folder;
  bool fresh = false;
  bool deterministic = false;
  std::int64_t max_steps = 0;  ///< of each stage; 0: as the recipe says
  Progress& progress;
  std::vector<Sink*> sinks;
  Group* group = &Group::alone();               ///< the processes that train together
  std::int64_t processes_here = 1;              ///< of them, those that share this host's processors
  std::map<std::string, StageResult> finished;  ///< stages of this run so far
  std::shared_ptr<AnswerCaches> answers;        ///< of the teachers
  std::shared_ptr<TrainingDataStore> data;      ///< of the stages
};

}  // namespace kd
