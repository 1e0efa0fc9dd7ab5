// The declared settings of stages, data and teachers, and a resolved recipe as text.
#include <fmt/format.h>

#include <algorithm>

#include "recipe/plan.h"

namespace kd {

void TrainSettings::schema(Schema<TrainSettings>& s) {
  using T = TrainSettings;
  s.field("epochs", &T::epochs, "passes over the training set").def(1).at_least(1);
  s.field("batch_size", &T::batch_size, "samples of one step").def(64).range(1, 1 << 24);
  s.component("optimizer", &T::optimizer, "optimizer", "how gradients become new parameters")
      .def_toml("{ type = 'sgd', lr = 0.05, momentum = 0.9, weight_decay = 5e-4 }");
  s.component("schedule", &T::schedule, "schedule",
              "factor of the learning rate over training; constant where left out")
      .optional();
  s.components("augment", &T::augment, "augmentation",
               "applied to every training batch in this order; normalize also in evaluation")
      .def(Value(Value::List{}));
  s.choice(
       "precision", &T::precision,
       {{"auto", Precision::kAuto},
        {"fp32", Precision::kFp32},
        {"tf32", Precision::kTf32},
        {"bf16", Precision::kBf16},
        {"fp16", Precision::kFp16}},
       "of matrix products; auto takes bf16 where the device is fast in it; tf32 is fp32 whose factors a GPU rounds to "
       "11 bits")
      .def("auto");
  s.choice("channels_last", &T::channels_last, {{"auto", Switch::kAuto}, {"on", Switch::kOn}, {"off", Switch::kOff}},
           "memory order of images; auto takes it for convolutional networks")
      .def("auto");
  s.choice("teacher_cache", &T::teacher_cache, {{"auto", Switch::kAuto}, {"off", Switch::kOff}},
           "keeps a frozen teacher's logits where every sample has a single view")
      .def("auto");
  s.field("accumulate", &T::accumulate, "batches whose gradients make one update").def(1).at_least(1);
  s.field("max_gradient_norm", &T::max_gradient_norm, "gradients are scaled down to this L2 norm; 0: never")
      .def(0.0)
      .at_least(0);
  s.field("ema", &T::ema,
          "decay per update of an exponential moving average of the parameters that is evaluated and kept; 0: none")
      .def(0.0)
      .at_least(0)
      .below(1);
  s.field("evaluate_every", &T::evaluate_every, "epochs between evaluations; the last epoch is always evaluated")
      .def(1)
      .at_least(1);
  s.field("early_stopping", &T::early_stopping, "stops after this many evaluations without a lower loss; 0: never")
      .def(0)
      .at_least(0);
  s.field("evaluation_batch_size", &T::evaluation_batch_size, "samples of one evaluation step")
      .def(1000)
      .range(1, 1 << 24);
  s.field("drop_last", &T::drop_last, "leaves out the last, smaller batch of an epoch").def(false);
  s.field("threads", &T::threads, "threads of one operation on the CPU; 0: by the size of the networks")
      .def(0)
      .range(0, 1024);
  s.field("checkpoint_seconds", &T::checkpoint_seconds,
          "least time between two checkpoints, which are made at the end of an epoch")
      .def(60.0)
      .at_least(0);
}

void DataSelection::schema(Schema<DataSelection>& s) {
  using D = DataSelection;
  s.field("validation", &D::validation,
          "images held out of training to choose the best epoch; 0: none, the last epoch counts")
      .def(0)
      .at_least(0);
  s.field("classes", &D::classes, "the only classes of the task, training and test, renumbered in this order; []: all")
      .def(std::vector<std::int64_t>{})
      .at_least(0);
  s.field("exclude_classes", &D::exclude_classes,
          "classes that training and validation never show; the test keeps them")
      .def(std::vector<std::int64_t>{})
      .at_least(0);
  s.field("fraction", &D::fraction, "share of the training images that is used").def(1.0).above(0).at_most(1);
  s.field("per_class", &D::per_class, "at most this many training images of each class; 0: all").def(0).at_least(0);
  s.field("label_noise", &D::label_noise,
          "probability that a training label is replaced by one of the other classes, uniformly")
      .def(0.0)
      .range(0, 1);
  s.field("unlabelled", &D::unlabelled,
          "share of the training images whose label is hidden: only losses that need no label see them, such as "
          "mimicry in semi-supervised mutual learning")
      .def(0.0)
      .at_least(0)
      .below(1);
  s.field(
       "imbalance", &D::imbalance,
       "ratio of the largest to the smallest class: class c keeps a share imbalance^(-c/(C-1)) of its training images")
      .def(1.0)
      .at_least(1);
}

void TeacherPlan::schema(Schema<TeacherPlan>& s) {
  using T = TeacherPlan;
  s.field("stage", &T::stage, "an earlier stage of this recipe, or of `run`").def("");
  s.field("run", &T::run, "a run folder that holds the stage").def("");
  s.field("file", &T::file, "a .safetensors file, or what torch.save wrote; `model` says of what network").def("");
  s.component("model", &T::model, "model", "the network whose weights `file` holds").optional();
  s.field("network", &T::network, "which network of the stage; its only one where left out").def("");
  s.field("checkpoint", &T::checkpoint,
          "best: the epoch with the highest validation accuracy, which the table reports (without a validation split "
          "the last one); or last")
      .def("best");
  s.field("weight", &T::weight, "share among several teachers").def(1.0).at_least(0);
  s.field("temperature", &T::temperature,
          "divides its logits before anything else, such as what temperature scaling found on held-out images")
      .def(1.0)
      .above(0);
  s.field("training_mode", &T::training_mode,
          "answers with dropout and batch statistics as in training, as some published code does unawares")
      .def(false);
}

namespace {

void list_into(const std::string& key, const Value& value, std::vector<SettingOrigin>& all) {
  if (value.is_table() && !value.as_table().empty()) {
    for (const Member& member : value.as_table())
      list_into((key.empty() ? "" : key + ".") + member.key, member.value, all);
  } else if (value.is_list() && std::any_of(value.as_list().begin(), value.as_list().end(),
                                            [](const Value& item) { return item.is_table(); })) {
    for (std::size_t i = 0; i < value.as_list().size(); ++i) {
      const Value& item = value.as_list()[i];
      const Value* name = key == "stage" ? item.find("name") : nullptr;
      list_into(fmt::format("{}.{}", key, name != nullptr ? name->as_string() : std::to_string(i)), item, all);
    }
  } else {
    all.push_back({key, value, value.location});
  }
}

}  // namespace

std::vector<SettingOrigin> list_settings(const Value& resolved) {
  std::vector<SettingOrigin> all;
  list_into("", resolved, all);
  return all;
}

std::string write_recipe(const Value& resolved) {
  std::string text;
  std::string tables;
  for (const Member& member : resolved.as_table()) {
    if (member.key == "stage") {
      for (const Value& stage : member.value.as_list()) {
        tables += "\n[[stage]]\n";
        for (const Member& setting : stage.as_table())
          tables += fmt::format("{} = {}\n", toml_key(setting.key), setting.value.to_toml());
      }
    } else {
      text += fmt::format("{} = {}\n", toml_key(member.key), member.value.to_toml());
    }
  }
  return text + tables;
}

}  // namespace kd
