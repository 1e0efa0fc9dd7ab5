// stage_parts.h
#include "engine/stage_parts.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <thread>

#include "engine/device.h"
#include "engine/stage_store.h"
#include "kd/diagnostics.h"
#include "record/weights.h"

namespace kd {
namespace {

/// Fully connected networks answer this many batches at once: one is too little work for a pass.
constexpr std::int64_t kBatchesOfPass = 16;

/// Below this many multiply-adds a step, a second thread costs more in waiting than it computes: a 784-196-10 network
/// at batch 32 trains faster on one thread, and two threads are many times slower as soon as another process wants a
/// core.
constexpr std::int64_t kWorthThreads = 100'000'000;

/// The model's plan of a teacher, wherever its weights come from, with the file of the weights.
struct TeacherSource {
  ComponentSpec model;
  std::filesystem::path file;  ///< empty before its stage is trained
};

TeacherSource find_teacher(const TeacherPlan& teacher, const RunContext& context) {
  if (!teacher.file.empty()) return {teacher.model, teacher.file};
  const auto from_result = [&](const StageResult& result) -> TeacherSource {
    for (const NetworkResult& network : result.networks) {
      if (teacher.network.empty() || network.name == teacher.network) {
        return {network.model, network_file(result, network.name, teacher.checkpoint)};
      }
    }
    throw RecipeError(fmt::format("{}: error: stage '{}' has no network '{}'", teacher.location.to_string(),
                                  teacher.stage, teacher.network));
  };
  if (!teacher.run.empty()) {
    const auto result = read_result(std::filesystem::path(teacher.run) / "stages" / teacher.stage);
    if (!result) {
      throw FileError(fmt::format("{}: error: {} holds no finished stage '{}'", teacher.location.to_string(),
                                  teacher.run, teacher.stage));
    }
    return from_result(*result);
  }
  if (const auto found = context.finished.find(teacher.stage); found != context.finished.end())
    return from_result(found->second);
  for (const StagePlan& stage : context.plan.stages) {
    if (stage.name != teacher.stage) continue;
    for (const NetworkPlan& network : stage.networks) {
      if (teacher.network.empty() || network.name == teacher.network) return {network.model, {}};
    }
  }
  throw Error(fmt::format("there is no stage '{}'", teacher.stage));
}

void require_taps(const TapRequest& wanted, Model& model, const std::string& name) {
  const std::vector<std::string> offered = model.tap_names();
  for (const std::string& tap : wanted) {
    if (std::find(offered.begin(), offered.end(), tap) != offered.end()) continue;
    throw RecipeError(
        fmt::format("error: a loss wants the feature '{}' of '{}', which offers none of that name\n    hint: {}", tap,
                    name, name_hint(tap, offered, "it offers")));
  }
}

}  // namespace

RandomKey stage_key(const ExperimentPlan& plan, const StagePlan& stage) {
  return RandomKey{static_cast<std::uint64_t>(plan.seed)}.with(stage.name);
}

StageParts::StageParts(const StagePlan& plan, const RunContext& context)
    : plan_(plan),
      context_(context),
      key_(stage_key(context.plan, plan)),
      // Students of one recipe see the same views, whatever their stage: a teacher then answers the second from its
      // cache, and what differs between them is not the luck of their crops.
      view_key_(plan.teachers.empty() ? key_ : RandomKey{static_cast<std::uint64_t>(context.plan.seed)}.with("views")),
      data_(load_training_data(plan.data, context.data_root, static_cast<std::uint64_t>(context.plan.seed),
                               context.device)),
      augmentations_(plan.train.augment, data_.info) {
  make_networks();
}

StageParts::~StageParts() = default;

void StageParts::make_networks() {
  std::vector<std::unique_ptr<Model>> models;
  Placement plain{context_.device, at::kFloat, false};
  bool convolutional = true;
  for (const NetworkPlan& network : plan_.networks) {
    models.push_back(place_model(network.model, data_.info, key_.with(network.name), plain));
    convolutional &= models.back()->convolutional();
  }
  placement_.device = context_.device;
  placement_.precision = choose_precision(plan_.train.precision, context_.device, convolutional);
  placement_.channels_last = use_channels_last(plan_.train, convolutional);
  for (std::size_t i = 0; i < models.size(); ++i) {
    const std::string& name = plan_.networks[i].name;
    set_memory_order(*models[i], placement_);
    trained_.push_back(std::make_unique<TrainedNetwork>(name, std::move(models[i]), placement_, key_.with(name)));
    networks_.push_back(trained_.back().get());
  }
}

std::string StageParts::precision_name() const { return kd::precision_name(placement_.precision); }

std::string StageParts::describe() const {
  std::string text = precision_name() + (placement_.channels_last ? ", channels last" : "");
  if (context_.device.is_cpu()) text += fmt::format(", {} thread(s)", at::get_num_threads());
  if (frozen_.empty()) return text;
  const auto cached = std::count_if(frozen_.begin(), frozen_.end(), [](const auto& one) { return one->has_cache(); });
  return text + fmt::format(", answers of {} of {} teacher(s) cached", cached, frozen_.size());
}

void StageParts::make_teachers(bool with_weights) {
  for (const TeacherPlan& teacher : plan_.teachers) {
    const TeacherSource source = find_teacher(teacher, context_);
    const std::string name =
        teacher.stage.empty() ? std::filesystem::path(teacher.file).stem().string() : teacher.stage;
    auto model = place_model(source.model, data_.info, key_.with("teacher"), placement_);
    if (with_weights || !teacher.file.empty()) load_state_dict(*model, read_weights(source.file), source.file.string());
    frozen_.push_back(std::make_unique<FrozenNetwork>(name, std::move(model), placement_, teacher,
                                                      key_.with("teacher").with(frozen_.size())));
    teachers_.push_back(frozen_.back().get());
  }
}

void StageParts::prepare() {
  choose_threads();
  assemble(/*with_weights=*/true);
  find_caches();
}

void StageParts::check() { assemble(/*with_weights=*/false); }

void StageParts::assemble(bool with_weights) {
  make_teachers(with_weights);
  scheme_ = make<Scheme>(plan_.scheme);
  scheme_->setup(*this);
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    const NetworkPlan& network = plan_.networks[i];
    trained_[i]->prepare(network.optimizer ? network.optimizer : plan_.train.optimizer,
                         network.schedule ? network.schedule : plan_.train.schedule, plan_.train);
  }
}

void StageParts::begin_step(std::int64_t step) {
  for (const auto& teacher : frozen_) teacher->begin_step(step);
}

void StageParts::find_caches() {
  const AnswerShape shape{.samples = samples(), .views = augmentations_.views(), .classes = data_.info.classes()};
  if (plan_.train.teacher_cache == Switch::kOff || shape.views == 0) return;
  // Passes of another shape, on more threads or in another layout are summed in another order: what a student finds in
  // a cache must be what it would have computed.
  std::string input = fmt::format("{} {} {} {} {}", data_.fingerprint, precision_name(), placement_.channels_last,
                                  plan_.train.batch_size, at::get_num_threads());
  for (const ComponentSpec& spec : plan_.train.augment) input += "\n" + spec.type + " " + spec.parameters.to_toml();
  const auto bytes = static_cast<std::int64_t>(c10::elementSize(placement_.precision));
  for (std::size_t i = 0; i < frozen_.size(); ++i) {
    if (frozen_[i]->in_training_mode()) continue;
    const std::string name = teacher_identity(plan_.teachers[i], context_) + "\n" + input;
    frozen_[i]->use_cache(context_.answers->find(name, shape, bytes, context_.device));
  }
}

void StageParts::prepare_answers(const at::Tensor& index, std::int64_t epoch) {
  for (const auto& teacher : frozen_) {
    const std::int64_t batches = teacher->model().convolutional() ? 1 : kBatchesOfPass;
    teacher->fill_cache(data_.train, augmentations_, index, view_key(epoch), batches * plan_.train.batch_size);
  }
}

void StageParts::choose_threads() const {
  if (!context_.device.is_cpu()) return;
  const auto all = static_cast<std::int64_t>(std::max(1U, std::thread::hardware_concurrency()));
  std::int64_t threads = plan_.train.threads;
  if (threads == 0) {
    // A fully connected network multiplies every weight once per sample, a convolutional one far more often.
    std::int64_t work = 0;
    for (const auto& network : trained_) {
      work += network->model().convolutional() ? kWorthThreads
                                               : count_parameters(network->model()) * plan_.train.batch_size;
    }
    threads = work >= kWorthThreads ? all : 1;
  }
  at::set_num_threads(static_cast<int>(threads));
}

void StageParts::train_with(Network& network, const std::shared_ptr<torch::nn::Module>& module) {
  dynamic_cast<TrainedNetwork&>(network).add_module(module);
}

void StageParts::require(const LossNeeds& needs, const Network& student) {
  const auto found =
      std::find_if(trained_.begin(), trained_.end(), [&](const auto& network) { return network.get() == &student; });
  require_taps(needs.student_taps, (*found)->model(), student.name());
  if (needs.teacher && frozen_.empty()) {
    throw RecipeError(fmt::format(
        "{}: error: a loss of scheme '{}' needs a teacher, and this stage has none\n    hint: give the stage "
        "'teachers', or take a scheme with teachers",
        plan_.scheme.location.to_string(), plan_.scheme.type));
  }
  if (needs.one_label && augmentations_.mixes()) {
    throw RecipeError(fmt::format(
        "{}: error: a loss of scheme '{}' wants one label per image, and an augmentation of this stage mixes images\n"
        "    hint: take the mixing augmentation out, or a loss that takes mixed targets (cross_entropy, kd)",
        plan_.scheme.location.to_string(), plan_.scheme.type));
  }
  const std::vector<std::string> views = augmentations_.view_names();
  for (const ViewRequest& request : needs.views) {
    if (std::find(views.begin(), views.end(), request.name) != views.end()) continue;
    throw RecipeError(fmt::format(
        "{}: error: a loss of scheme '{}' wants the extra view '{}', and no augmentation of this stage makes it\n"
        "    hint: {}",
        plan_.scheme.location.to_string(), plan_.scheme.type, request.name,
        views.empty() ? "an augmentation such as 'augmix' or 'same_class' adds views"
                      : name_hint(request.name, views, "there are")));
  }
  for (const auto& teacher : frozen_) require_taps(needs.teacher_taps, teacher->model(), teacher->name());
}

}  // namespace kd
