// stage_loop.h
#include "engine/stage_loop.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/batches.h"
#include "engine/c10d_group.h"
#include "engine/device.h"
#include "engine/exchange.h"
#include "engine/stop.h"
#include "files/atomic_file.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

/// The rows of a batch that this process takes.
Shard shard_of(StageParts& parts) { return {parts.group().rank(), parts.group().size()}; }

/// Numbers that are not finite come through, other than in text.
std::string to_bytes(const nlohmann::json& json) {
  const std::vector<std::uint8_t> bytes = nlohmann::json::to_cbor(json);
  return {bytes.begin(), bytes.end()};
}

std::string meter_prefix(const std::string& network) { return "meter." + network + "."; }

/// What the processes of a group do after a step, where any of them wants it.
struct Wishes {
  bool stop = false, save = false;
};

/// The wishes of all; they go with the gradients of the step between the vote and the count. Every process votes.
class Votes {
 public:
  Votes(Group& group, const Wishes& own) : group_(group), own_(own) {
    if (group.size() == 1) return;
    votes_ = at::zeros({2}, at::TensorOptions().dtype(at::kFloat));
    votes_.mutable_data_ptr<float>()[0] = own.stop ? 1 : 0;
    votes_.mutable_data_ptr<float>()[1] = own.save ? 1 : 0;
    sum_with_next(group, votes_);
  }
  Wishes count() {
    if (!votes_.defined()) return own_;
    settle(group_);
    const float* votes = votes_.const_data_ptr<float>();
    return {.stop = votes[0] > 0, .save = votes[1] > 0};
  }

 private:
  Group& group_;
  const Wishes own_;
  at::Tensor votes_;
};

}  // namespace

StageLoop::StageLoop(const StagePlan& plan, RunContext& context, StageParts& parts, std::filesystem::path folder)
    : plan_(plan),
      context_(context),
      parts_(parts),
      folder_(std::move(folder)),
      source_(parts.training_data().train, parts.augmentations(), plan.train.batch_size, shard_of(parts),
              parts.training_data().sources),
      batches_(batches_per_epoch(plan, parts.training_data())),
      windows_({.samples = parts.training_data().sources.rows(plan.train.batch_size),
                .batch_size = plan.train.batch_size,
                .batches = batches_,
                .steps = context.max_steps > 0 ? std::min(context.max_steps, plan.train.epochs * batches_)
                                               : plan.train.epochs * batches_,
                .accumulate = plan.train.accumulate,
                .shard = shard_of(parts)},
               parts.training_data().train_labels,
               [this](std::int64_t epoch) {
                 return epoch_order(parts_.training_data().sources, plan_.train.batch_size, epoch_key(epoch));
               }),
      recorded_(parts.recordable(), parts.trained()),
      lowest_loss_(std::numeric_limits<double>::infinity()),
      together_before_(seconds_together(*context.group)) {
  if (context_.group->is_first()) metrics_.emplace(folder_ / "metrics.jsonl");
  const std::int64_t rows = parts_.training_data().sources.rows(plan_.train.batch_size);
  const std::int64_t last = rows - (batches_ - 1) * plan_.train.batch_size;
  if (std::min(last, plan_.train.batch_size) < parts_.group().size()) {
    throw RecipeError(plan_.location,
                      fmt::format("a batch of {} images for {} processes", std::min(last, plan_.train.batch_size),
                                  parts_.group().size()),
                      "another batch_size, or drop_last = true");
  }
}

StageLoop::~StageLoop() = default;

ScheduleTime StageLoop::time() const {
  return {.step = step_, .steps_per_epoch = batches_, .epochs = plan_.train.epochs};
}

void StageLoop::update(Network& network, const std::vector<Term>& terms, const Counted& counted) {
  meters_[network.name()].add(terms, counted.logits, counted.targets, windows_.all_labelled());
  auto& trained = dynamic_cast<TrainedNetwork&>(network);
  const UpdatePart part = windows_.part(step_);
  trained.backward(terms, part);
  if (part.last) trained.step();
}

StageResult StageLoop::run() {
  // A run that was stopped at its very last step comes back here with an epoch that only has to be ended.
  const auto epoch_is_open = [this] { return batch_ > 0 || !steps_are_used_up(); };
  if (plan_.train.epochs == 0 && results_.empty()) take_as_given();
  while (epoch_ < plan_.train.epochs && !stopped_early_ && epoch_is_open()) run_epoch();
  if (context_.group->size() > 1) {
    const double passed = std::chrono::duration<double>(Clock::now() - start_).count();
    context_.progress.say(fmt::format("stage {}: {:.0f} % of the time was spent with the other processes", plan_.name,
                                      100 * (seconds_together(*context_.group) - together_before_) / passed));
  }
  StageResult result{.stage = plan_.name,
                     .fingerprint = {},
                     .folder = folder_,
                     .epochs = epoch_,
                     .seconds = seconds(),
                     .reused = false,
                     .precision = parts_.precision_name(),
                     .networks = results_};
  return result;
}

void StageLoop::take_as_given() {
  std::map<std::string, Numbers> numbers;
  const auto [top1, loss] = evaluate(numbers);
  follow(top1, loss);
  share(numbers);
  write_records(numbers);
  for (const NetworkResult& result : results_) {
    context_.progress.say(fmt::format("stage {}: network '{}' is taken as 'init' gives it: test {:.2f}%", plan_.name,
                                      result.name, 100 * result.test.top1));
  }
  save(/*finished=*/true);
}

void StageLoop::run_epoch() {
  epoch_start_ = Clock::now();
  epoch_start_batch_ = batch_;
  source_.begin_epoch(epoch_key(epoch_), parts_.view_key(epoch_), batch_);
  recorded_.begin_epoch();
  std::int64_t answered = batch_;
  while (batch_ < batches_ && !steps_are_used_up()) {
    if (batch_ == answered) answered = prepare_answers();
    Votes votes(*context_.group, {.stop = stop_requested(), .save = checkpoint_is_due()});
    run_step();
    const Wishes wishes = votes.count();
    if (wishes.stop) stop();
    if (batch_ < batches_ && wishes.save) {
      check_meters();
      save(/*finished=*/false);
    }
    report_step();
  }
  ++epoch_;
  end_epoch();
  batch_ = 0;
}

std::int64_t StageLoop::prepare_answers() {
  // What is missing is found for several steps at once, and a stop is not seen before they are done.
  const std::int64_t ahead = std::max<std::int64_t>(1, parts_.samples_ahead() / plan_.train.batch_size);
  std::int64_t end = std::min(batch_ + ahead, batches_);
  if (context_.max_steps > 0) end = std::min(end, batch_ + context_.max_steps - step_);
  parts_.prepare_answers(source_.positions(batch_, end), epoch_);
  return end;
}

void StageLoop::run_step() {
  ScheduleTime begin = time();
  begin.step = windows_.first_step(step_);
  for (const auto& network : parts_.trained()) network->begin_step(begin);
  source_.advance();
  const bool could = recorded_.trouble().empty();
  recorded_.make([this] { compute_step(); }, source_.rows() == source_.whole_rows());
  if (could && !recorded_.trouble().empty()) {
    context_.progress.warn(fmt::format("stage {}: its steps cannot be recorded as a CUDA graph and are slower: {}",
                                       plan_.name, recorded_.trouble()));
  }
  ++step_;
  ++batch_;
}

void StageLoop::compute_step() {
  const Batch batch = source_.make_batch();
  const DrawTables::Use use(parts_.augmentations().tables(), parts_.view_key(epoch_), batch.index);
  parts_.step(batch, step_, *this);
}

void StageLoop::report_step() {
  const double passed = std::chrono::duration<double>(Clock::now() - epoch_start_).count();
  const auto done = static_cast<double>(batch_ - epoch_start_batch_);
  const double per_second = passed > 0 ? done / passed : 0;
  const auto left = static_cast<double>((plan_.train.epochs - epoch_) * batches_ - batch_);
  context_.progress.step({.stage = plan_.name,
                          .epoch = epoch_,
                          .epochs = plan_.train.epochs,
                          .batch = batch_,
                          .batches = batches_,
                          .learning_rate = parts_.trained().front()->learning_rate(time()),
                          .images_per_second = per_second * static_cast<double>(plan_.train.batch_size),
                          .seconds_left = per_second > 0 ? left / per_second : 0,
                          .means = [this] { return meters_.empty() ? Numbers{} : meters_.begin()->second.means(); }});
}

void StageLoop::end_epoch() {
  std::map<std::string, Numbers> numbers;
  for (const auto& [network, meter] : meters_) {
    const Numbers means = meter.means(parts_.group());
    check_finite(network, means);
    for (const auto& [name, value] : means) numbers[network]["train/" + name] = value;
  }
  meters_.clear();
  synchronize(context_.device);
  const double passed = std::chrono::duration<double>(Clock::now() - epoch_start_).count();
  const double images_per_second = static_cast<double>((batch_ - epoch_start_batch_) * plan_.train.batch_size) / passed;
  ScheduleTime last_update = time();
  last_update.step = windows_.first_step(step_ - 1);
  const double learning_rate = parts_.trained().front()->learning_rate(last_update);
  for (std::size_t i = 0; i < parts_.trained().size(); ++i) {
    const TrainedNetwork& network = *parts_.trained()[i];
    if (parts_.is_here(i)) numbers[network.name()]["train/learning_rate"] = network.learning_rate(last_update);
  }

  const bool last = epoch_ == plan_.train.epochs || steps_are_used_up();
  if (last || epoch_ % plan_.train.evaluate_every == 0) {
    const auto [top1, loss] = evaluate(numbers);
    follow(top1, loss);
  }
  share(numbers);
  write_records(numbers);
  context_.progress.epoch({.stage = plan_.name,
                           .epoch = epoch_,
                           .epochs = plan_.train.epochs,
                           .learning_rate = learning_rate,
                           .images_per_second = images_per_second,
                           .networks = std::move(numbers)});
  batch_ = 0;
  const bool finished = last || stopped_early_;
  const bool new_best = is_best_ && parts_.training_data().has_validation();
  if (finished || new_best || plan_.train.checkpoint_seconds == 0 ||
      Votes(*context_.group, {.save = checkpoint_is_due()}).count().save)
    save(finished);
}

std::pair<double, double> StageLoop::evaluate(std::map<std::string, Numbers>& numbers) {
  const TrainingData& data = parts_.training_data();
  std::vector<NetworkResult> results;
  double top1 = 0;
  double loss = 0;
  for (std::size_t i = 0; i < parts_.trained().size(); ++i) {
    TrainedNetwork& network = *parts_.trained()[i];
    results.push_back({network.name(), plan_.networks[i].model, count_parameters(network.model()), {}});
    if (!parts_.is_here(i)) continue;
    const auto measure = [&](const SplitData& set, const std::string& split) {
      const at::Tensor logits = network.evaluate(set, parts_.augmentations(), plan_.train.evaluation_batch_size);
      const ClassificationResult result = measure_classification(logits, set.labels());
      check_finite(network.name(), {{split + "/nll", result.nll}});
      Numbers& of_network = numbers[network.name()];
      of_network[split + "/nll"] = result.nll;
      of_network[split + "/top1"] = result.top1;
      of_network[split + "/top5"] = result.top5;
      for (const auto& [name, value] : calibration_measures(result.calibration))
        of_network[fmt::format("{}/{}", split, name)] = value;
      for (std::size_t c = 0; c < result.per_class.size(); ++c) {
        of_network[fmt::format("{}/top1/class/{}", split, c)] = result.per_class[c];
      }
      return result;
    };
    const ClassificationResult test = measure(data.test, "test");
    const ClassificationResult chosen_by = data.has_validation() ? measure(data.validation, "validation") : test;
    network.observe(chosen_by.nll);
    results.back().test = test;
    top1 += chosen_by.top1;
    loss += chosen_by.nll;
  }
  if (parts_.is_spread()) share(results, top1, loss);
  // Without a validation split the last epoch counts: choosing by the test set would flatter.
  is_best_ = !data.has_validation() || top1 > best_top1_;
  if (is_best_) results_ = std::move(results);
  return {top1, loss};
}

void StageLoop::share(std::map<std::string, Numbers>& numbers) const {
  if (!parts_.is_spread()) return;
  std::map<std::string, Numbers> all;
  for (const std::string& text : gather_texts(*context_.group, to_bytes(numbers)))
    all.merge(nlohmann::json::from_cbor(text).get<std::map<std::string, Numbers>>());
  numbers = std::move(all);
}

void StageLoop::share(std::vector<NetworkResult>& results, double& top1, double& loss) const {
  const auto own = static_cast<std::size_t>(context_.group->rank());
  const nlohmann::json words{{"test", to_json(results[own].test)}, {"top1", top1}, {"loss", loss}};
  const std::vector<std::string> texts = gather_texts(*context_.group, to_bytes(words));
  top1 = loss = 0;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto of_network = nlohmann::json::from_cbor(texts[i]);
    results[i].test = classification_from_json(of_network.at("test"));
    top1 += of_network.at("top1").get<double>();
    loss += of_network.at("loss").get<double>();
  }
}

void StageLoop::follow(double top1, double loss) {
  best_top1_ = std::max(best_top1_, top1);
  evaluations_without_gain_ = loss < lowest_loss_ ? 0 : evaluations_without_gain_ + 1;
  lowest_loss_ = std::min(lowest_loss_, loss);
  stopped_early_ = plan_.train.early_stopping > 0 && evaluations_without_gain_ >= plan_.train.early_stopping;
  if (stopped_early_) {
    context_.progress.say(fmt::format("stage {}: stopped early after epoch {}: {} evaluations without a lower loss",
                                      plan_.name, epoch_, evaluations_without_gain_));
  }
}

void StageLoop::write_records(const std::map<std::string, Numbers>& numbers) {
  std::vector<Record> records;
  for (const auto& [network, values] : numbers) {
    for (const auto& [name, value] : values) {
      const std::size_t slash = name.find('/');
      records.push_back({plan_.name, network, name.substr(0, slash), epoch_, step_, name.substr(slash + 1), value});
    }
  }
  if (metrics_) metrics_->write(records);
  for (Sink* sink : context_.sinks) sink->write(records);
}

void StageLoop::check_finite(const std::string& network, const Numbers& means) const {
  std::string terms;
  for (const auto& [name, value] : means) {
    if (!std::isfinite(value)) terms += (terms.empty() ? "" : ", ") + name;
  }
  if (terms.empty()) return;
  const auto before = newest_checkpoint(folder_ / "ckpt");
  throw Error(
      fmt::format("stage '{}', network '{}', epoch {}: not finite: {}. Try a smaller learning rate, "
                  "max_gradient_norm, or precision = \"fp32\"; {}",
                  plan_.name, network, epoch_, terms,
                  before ? "the last checkpoint before is " + before->string() : "there was no checkpoint before it"),
      ExitCode::kNotFinite);
}

double StageLoop::seconds() const {
  return earlier_seconds_ + std::chrono::duration<double>(Clock::now() - start_).count();
}

void StageLoop::save(bool finished) {
  if (is_best_ || best_.empty()) best_ = checkpoint_name(step_);
  Checkpoint checkpoint;
  for (const auto& [network, meter] : meters_)
    checkpoint.training.merge(meter.state(meter_prefix(network), parts_.group()));
  for (std::size_t i = 0; i < parts_.trained().size(); ++i) {
    if (!parts_.is_here(i)) continue;
    TrainedNetwork& network = *parts_.trained()[i];
    if (!finished) checkpoint.training.merge(network.training_state());
    if (!parts_.is_spread() && !context_.group->is_first()) continue;
    TrainedNetwork::Result result = network.result();
    checkpoint.networks[network.name()] = std::move(result.weights);
    if (!result.adapters.empty()) checkpoint.networks[adapters_name(network.name())] = std::move(result.adapters);
  }
  if (parts_.is_spread()) collect(checkpoint);
  if (context_.group->is_first()) write(finished, std::move(checkpoint));
  context_.group->wait();
  is_best_ = false;
  last_save_ = Clock::now();
}

void StageLoop::collect(Checkpoint& checkpoint) const {
  checkpoint.training = gather_tensors(*context_.group, checkpoint.training);
  for (const auto& network : parts_.trained()) {
    for (const std::string& name : {network->name(), adapters_name(network->name())}) {
      const auto found = checkpoint.networks.find(name);
      TensorMap all = gather_tensors(*context_.group, found == checkpoint.networks.end() ? TensorMap{} : found->second);
      if (!all.empty()) checkpoint.networks[name] = std::move(all);
    }
  }
}

void StageLoop::write(bool finished, Checkpoint checkpoint) {
  nlohmann::ordered_json state{
      {"best", best_},  // links may be older where a kill strikes before they are made
      {"epoch", epoch_},
      {"batch", batch_},
      {"step", step_},
      {"finished", finished},
      {"best_top1", best_top1_},
      {"lowest_loss", std::isfinite(lowest_loss_) ? nlohmann::json(lowest_loss_) : nlohmann::json(nullptr)},
      {"evaluations_without_gain", evaluations_without_gain_},
      {"seconds", seconds()},
      {"metrics_bytes", std::filesystem::file_size(folder_ / "metrics.jsonl")},
      {"results", nlohmann::json::array()}};
  for (const NetworkResult& result : results_) state["results"].push_back(to_json(result.test));
  checkpoint.state = state.dump(2) + "\n";
  const std::filesystem::path written = write_checkpoint(folder_ / "ckpt", step_, checkpoint);
  repair_links(written);
  remove_old_checkpoints(folder_ / "ckpt");
}

bool StageLoop::checkpoint_is_due() const {
  const double every = plan_.train.checkpoint_seconds;
  return every > 0 && std::chrono::duration<double>(Clock::now() - last_save_).count() >= every;
}

void StageLoop::check_meters() const {
  // A checkpoint of a network that has diverged would replace the last good one.
  for (const auto& [network, meter] : meters_) check_finite(network, meter.means(parts_.group()));
}

void StageLoop::stop() {
  check_meters();
  save(/*finished=*/false);
  throw Error(fmt::format("stopped in stage '{}' after {} steps, at a checkpoint; the same command goes on from there",
                          plan_.name, step_),
              ExitCode::kResumable);
}

void StageLoop::restore(const std::filesystem::path& folder) {
  if (context_.group->is_first()) repair_links(folder);
  const Checkpoint checkpoint = read_checkpoint(folder);
  const auto state = nlohmann::json::parse(checkpoint.state);
  best_ = state.at("best");
  epoch_ = state.at("epoch");
  batch_ = state.at("batch");
  step_ = state.at("step");
  best_top1_ = state.at("best_top1");
  if (!state.at("lowest_loss").is_null()) lowest_loss_ = state.at("lowest_loss");
  evaluations_without_gain_ = state.at("evaluations_without_gain");
  earlier_seconds_ = state.at("seconds");
  if (metrics_) {
    // Records past the checkpoint belong to steps that are now made again.
    const std::filesystem::path records = folder_ / "metrics.jsonl";
    std::filesystem::resize_file(
        records, std::min(std::filesystem::file_size(records), state.at("metrics_bytes").get<std::uintmax_t>()));
  }
  const auto& results = state.at("results");
  for (std::size_t i = 0; i < results.size(); ++i) {
    results_.push_back({plan_.networks[i].name, plan_.networks[i].model, count_parameters(parts_.trained()[i]->model()),
                        classification_from_json(results[i])});
  }
  stopped_early_ = state.at("finished");  // the process ended between its last checkpoint and its result
  if (stopped_early_) return;
  for (std::size_t i = 0; i < parts_.trained().size(); ++i) {
    if (!parts_.is_here(i)) continue;
    const auto& network = parts_.trained()[i];
    const auto adapters = checkpoint.networks.find(adapters_name(network->name()));
    network->restore({.weights = checkpoint.networks.at(network->name()),
                      .adapters = adapters == checkpoint.networks.end() ? TensorMap{} : adapters->second},
                     checkpoint.training);
    TensorMap on_device;
    for (const auto& [name, tensor] : checkpoint.training) {
      if (name.starts_with(meter_prefix(network->name()))) on_device[name] = tensor.to(context_.device);
    }
    // The first process has what all have counted; the others count from nothing, but have the same counters: the
    // epoch may have no step left that would make them, and every process adds up its own.
    for (auto& [name, tensor] : on_device) {
      if (!parts_.group().is_first()) tensor = at::zeros_like(tensor);
    }
    if (!on_device.empty()) meters_[network->name()].restore(meter_prefix(network->name()), on_device);
  }
  context_.progress.say(
      fmt::format("stage {}: going on after {} of {} epochs{}", plan_.name, epoch_, plan_.train.epochs,
                  batch_ > 0 ? fmt::format(" and {} of {} batches", batch_, batches_) : std::string()));
}

}  // namespace kd
