// stage_parts.h
#include "engine/stage_parts.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <thread>
#include <tuple>

#include "engine/cuda_graph.h"
#include "engine/network_source.h"
#include "engine/stage_store.h"
#include "engine/state_dict.h"
#include "engine/sync_batch_norm.h"
#include "kd/diagnostics.h"
#include "record/weights.h"

namespace kd {
namespace {

/// Fully connected networks answer this many batches at once: one is too little work for a pass. But no more rows than
/// kMostRows, since each has an image and features in memory.
constexpr std::int64_t kBatchesOfPass = 16, kMostRows = 4096;

/// A GPU wants so many rows to be busy.
constexpr std::int64_t kRowsOnGpu = 1024;

/// Below this many multiply-adds a step, a second thread costs more in waiting than it computes: a 784-196-10 network
/// at batch 32 trains faster on one thread, and two threads are many times slower as soon as another process wants a
/// core.
constexpr std::int64_t kWorthThreads = 100'000'000;

void require_taps(const TapRequest& wanted, Model& model, const std::string& name) {
  const std::vector<std::string> offered = model.tap_names();
  for (const std::string& tap : wanted) {
    if (std::find(offered.begin(), offered.end(), tap) != offered.end()) continue;
    throw RecipeError({},
                      fmt::format("a loss wants the feature '{}' of '{}', which offers none of that name", tap, name),
                      name_hint(tap, offered, "it offers"));
  }
}

}  // namespace

std::int64_t batches_per_epoch(const StagePlan& plan, const TrainingData& data) {
  const std::int64_t size = plan.train.batch_size;
  if (data.sources.others > 0 && data.sources.share < 1 && size < 2)
    throw RecipeError(plan.location, "unlabelled_from wants batches of two images or more", "a larger batch_size");
  const std::int64_t samples = data.sources.rows(size);
  const std::int64_t batches = plan.train.drop_last ? samples / size : (samples + size - 1) / size;
  if (batches == 0) {
    throw RecipeError(plan.location, fmt::format("stage '{}' has {} training images, fewer than one batch of {}, and "
                                                 "drop_last = true",
                                                 plan.name, samples, size));
  }
  return batches;
}

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
      data_(context.data->get(plan.data, plan.train)),
      augmentations_(plan.train.augment, data_.info) {
  augmentations_.look_up_draws(data_.train.samples(), context.device);
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
    trained_.push_back(std::make_unique<TrainedNetwork>(name, std::move(models[i]), placement_, key_.with(name),
                                                        plan_.networks[i].freeze, *context_.group));
    networks_.push_back(trained_.back().get());
  }
}

Batch StageParts::first_batch(std::int64_t rows) const {
  const at::Tensor first = at::arange(rows, at::TensorOptions().dtype(at::kLong));
  return augmentations_.make_batch(data_.train, data_.train.on_both(first), view_key(0));
}

const TapShapes& StageParts::shapes(const Head& network) const { return shapes_.at(&network); }

void StageParts::load_first_weights() {
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    const auto& init = plan_.networks[i].init;
    if (!init) continue;
    const std::string said = begin_with(*trained_[i], *init, plan_.train.epochs == 0, data_.info, context_);
    if (!said.empty()) context_.progress.say(fmt::format("stage {}, {}: {}", plan_.name, trained_[i]->name(), said));
  }
}

bool StageParts::recordable() const {
  // Gradients of several batches, or of several processes, are put together by the host.
  return context_.device.is_cuda() && CudaGraph::available() && plan_.train.cuda_graph && plan_.train.accumulate == 1 &&
         context_.group->size() == 1 && scheme_->recordable() &&
         std::all_of(trained_.begin(), trained_.end(), [](const auto& network) { return network->recordable(); }) &&
         std::all_of(frozen_.begin(), frozen_.end(), [](const auto& one) { return one->model().recordable(); });
}

std::string StageParts::precision_name() const {
  const bool tf32 = plan_.train.precision == Precision::kTf32 && context_.device.is_cuda();
  return tf32 ? "tf32" : kd::precision_name(placement_.precision);
}

std::string StageParts::describe() const {
  std::string text = precision_name() + (placement_.channels_last ? ", channels last" : "");
  if (context_.device.is_cpu()) text += fmt::format(", {} thread(s)", at::get_num_threads());
  if (recordable()) text += ", steps recorded";
  if (frozen_.empty()) return text;
  const auto cached = std::count_if(frozen_.begin(), frozen_.end(), [](const auto& one) { return one->has_cache(); });
  return text + fmt::format(", answers of {} of {} teacher(s) cached", cached, frozen_.size());
}

void StageParts::make_teachers(bool with_weights) {
  for (const TeacherPlan& teacher : plan_.teachers) {
    require_same_data(teacher);
    const FoundNetwork source =
        teacher.file.empty() ? find_network(teacher, context_) : FoundNetwork{teacher.model, teacher.file, {}};
    const std::string name =
        teacher.stage.empty() ? std::filesystem::path(teacher.file).stem().string() : teacher.stage;
    auto model = place_model(source.model, data_.info, key_.with("teacher"), placement_);
    if (!teacher.file.empty()) {
      load_state_dict(*model, published_weights(source.weights, *model), source.weights.string());
    } else if (with_weights) {
      load_state_dict(*model, read_safetensors(source.weights), source.weights.string());
    }
    frozen_.push_back(std::make_unique<FrozenNetwork>(name, std::move(model), placement_, teacher,
                                                      key_.with("teacher").with(frozen_.size())));
    teachers_.push_back(frozen_.back().get());
  }
}

void StageParts::require_same_data(const TeacherPlan& teacher) const {
  if (!teacher.file.empty()) return;  // its weights fit the network that is made for this stage's data, or are refused
  const DataInfo* theirs = nullptr;
  if (!teacher.run.empty()) {
    const auto settings = std::filesystem::path(teacher.run) / "stages" / teacher.stage / "settings.toml";
    if (!std::filesystem::exists(settings)) return;  // reported where the stage is looked for
    const StageSettings of_theirs = read_stage_settings(settings.string(), registered_components());
    theirs = &context_.data->get(of_theirs.data, of_theirs.train).info;
  }
  for (const StagePlan& stage : context_.plan.stages) {
    if (teacher.run.empty() && stage.name == teacher.stage) theirs = &context_.data->get(stage.data, stage.train).info;
  }
  if (theirs == nullptr) return;
  const auto refuse = [&](const std::string& what) {
    throw RecipeError(teacher.location,
                      fmt::format("stage '{}', teacher: '{}' was trained on {}", plan_.name, teacher.stage, what));
  };
  const DataInfo& own = data_.info;
  if (std::tuple(theirs->channels, theirs->height, theirs->width) != std::tuple(own.channels, own.height, own.width)) {
    refuse(fmt::format("images of {}×{}×{}, and this stage's are {}×{}×{}", theirs->channels, theirs->height,
                       theirs->width, own.channels, own.height, own.width));
  }
  if (theirs->classes() != own.classes())
    refuse(fmt::format("{} classes, and this stage has {}", theirs->classes(), own.classes()));
  for (std::size_t c = 0; c < own.class_names.size(); ++c) {
    if (theirs->class_names[c] == own.class_names[c]) continue;
    refuse(fmt::format("other classes: class {} is '{}' there and '{}' here", c, theirs->class_names[c],
                       own.class_names[c]));
  }
}

void StageParts::prepare() {
  choose_threads();
  allow_tf32(plan_.train.precision == Precision::kTf32);
  assemble(/*with_weights=*/true);
  find_caches();
}

void StageParts::prepare_trial() {
  in_trial_ = true;
  assemble(/*with_weights=*/false);
}

at::Tensor StageParts::labels() const { return at::tensor(data_.train_labels, at::kLong); }

void StageParts::say(const std::string& line) {
  if (!in_trial_) context_.progress.say(fmt::format("stage {}: {}", plan_.name, line));
}

void StageParts::assemble(bool with_weights) {
  make_teachers(with_weights);
  const at::Tensor images = first_batch(std::min<std::int64_t>(2, samples())).images;
  for (const auto& network : trained_) shapes_[network.get()] = tap_shapes(network->model(), placement_, images);
  for (const auto& teacher : frozen_)
    shapes_[teacher.get()] = tap_shapes(teacher->model(), {placement_.device, at::kFloat, placement_.channels_last},
                                        images.to(placement_.precision));
  scheme_ = make<Scheme>(plan_.scheme);
  scheme_->setup(*this);
  load_first_weights();
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    const NetworkPlan& network = plan_.networks[i];
    trained_[i]->prepare(network.optimizer ? network.optimizer : plan_.train.optimizer,
                         network.schedule ? network.schedule : plan_.train.schedule, plan_.train, network.rates);
  }
}

void StageParts::step(const Batch& batch, std::int64_t step, Updater& updater) {
  for (const auto& teacher : frozen_) teacher->begin_step(step);
  const AutocastGuard autocast(placement_.device, placement_.precision, AutocastGuard::Casts::kMadeAnew);
  const SyncBatchNorm norm(plan_.train.sync_batch_norm ? &group() : nullptr);
  scheme_->step(batch, updater);
}

void StageParts::find_caches() {
  const AnswerShape shape{.samples = samples(), .views = augmentations_.views(), .classes = data_.info.classes()};
  if (plan_.train.teacher_cache == AutoOnOff::kOff || shape.views == 0 || teacher_features_) return;
  // Passes of another shape, on more threads or in another layout are summed in another order: what a student finds in
  // a cache must be what it would have computed.
  std::string input =
      fmt::format("{} {} {} {}", data_.fingerprint, precision_name(), placement_.channels_last, at::get_num_threads());
  for (const ComponentSpec& spec : plan_.train.augment) input += "\n" + spec.type + " " + spec.parameters.to_toml();
  const auto bytes = static_cast<std::int64_t>(c10::elementSize(placement_.precision));
  for (std::size_t i = 0; i < frozen_.size(); ++i) {
    if (frozen_[i]->in_training_mode()) continue;
    const std::string name =
        fmt::format("{} {}\n{}", teacher_identity(plan_.teachers[i], context_), rows_of_pass(*frozen_[i]), input);
    frozen_[i]->use_cache(context_.answers->find(name, shape, bytes));
  }
}

std::int64_t StageParts::rows_of_pass(FrozenNetwork& teacher) const {
  const std::int64_t batch = std::min(plan_.train.batch_size, samples());
  const bool many = context_.device.is_cpu() && !teacher.model().convolutional();
  const std::int64_t rows = many                       ? std::min(kBatchesOfPass * batch, std::max(batch, kMostRows))
                            : context_.device.is_cpu() ? batch
                                                       : std::max(batch, kRowsOnGpu);
  return std::min(rows, samples());
}

std::int64_t StageParts::samples_ahead() const {
  constexpr std::int64_t kBatches = 32, kPassesOnGpu = 4;
  const std::int64_t batches = kBatches * plan_.train.batch_size;
  return context_.device.is_cpu() ? batches : std::max(batches, kPassesOnGpu * kRowsOnGpu);
}

void StageParts::prepare_answers(const at::Tensor& index, std::int64_t epoch) {
  for (const auto& teacher : frozen_)
    teacher->fill_cache(data_.train, augmentations_, index, view_key(epoch), rows_of_pass(*teacher));
}

void StageParts::choose_threads() const {
  if (!context_.device.is_cpu()) return;
  const auto all = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(std::thread::hardware_concurrency()) / context_.processes_here);
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

Group* StageParts::spread() {
  const auto processes = context_.group->size();
  if (processes == 1) return nullptr;
  if (processes != static_cast<std::int64_t>(trained_.size())) {
    throw RecipeError(
        plan_.scheme.location,
        fmt::format("placement = \"spread\" gives each network a process of its own, and stage '{}' has {} "
                    "networks for {} processes",
                    plan_.name, trained_.size(), processes),
        "start as many processes as there are networks, or take placement = \"together\"");
  }
  spread_ = true;
  for (const auto& network : trained_) network->train_in(Group::alone());
  return context_.group;
}

void StageParts::train_with(Network& network, const NamedModule& adapter) {
  dynamic_cast<TrainedNetwork&>(network).add_adapter(adapter);
}

void StageParts::require(const LossNeeds& needs, const Network& student) {
  const auto found =
      std::find_if(trained_.begin(), trained_.end(), [&](const auto& network) { return network.get() == &student; });
  require_taps(needs.student_taps, (*found)->model(), student.name());
  if (needs.teacher && frozen_.empty()) {
    throw RecipeError(plan_.scheme.location,
                      fmt::format("a loss of scheme '{}' needs a teacher, and this stage has none", plan_.scheme.type),
                      "give the stage 'teachers', or take a scheme with teachers");
  }
  if (needs.one_label && augmentations_.mixes()) {
    throw RecipeError(
        plan_.scheme.location,
        fmt::format("a loss of scheme '{}' wants one label per image, and an augmentation of this stage mixes images",
                    plan_.scheme.type),
        "take the mixing augmentation out, or a loss that takes mixed targets (cross_entropy, kd)");
  }
  const std::vector<std::string> views = augmentations_.view_names();
  for (const ViewRequest& request : needs.views) {
    if (std::find(views.begin(), views.end(), request.name) != views.end()) continue;
    throw RecipeError(plan_.scheme.location,
                      fmt::format("a loss of scheme '{}' wants the extra view '{}', and no augmentation of this stage "
                                  "makes it",
                                  plan_.scheme.type, request.name),
                      views.empty() ? "an augmentation such as 'augmix' or 'same_class' adds views"
                                    : name_hint(request.name, views, "there are"));
  }
  for (const auto& teacher : frozen_) require_taps(needs.teacher_taps, teacher->model(), teacher->name());
  teacher_features_ |= !needs.teacher_taps.empty();
}

}  // namespace kd
