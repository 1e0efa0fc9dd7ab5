// settings.h: what each table of a recipe holds, with defaults and meaning.
#include "recipe/settings.h"

namespace kd {

void TrainSettings::schema(Schema<TrainSettings>& s) {
  using T = TrainSettings;
  s.field("epochs", &T::epochs, "passes over the training set; 0 takes the networks as `init` gives them")
      .def(1)
      .at_least(0);
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
  s.choice("channels_last", &T::channels_last,
           {{"auto", AutoOnOff::kAuto}, {"on", AutoOnOff::kOn}, {"off", AutoOnOff::kOff}},
           "memory order of images; auto takes it for convolutional networks")
      .def("auto");
  s.choice("teacher_cache", &T::teacher_cache, {{"auto", AutoOnOff::kAuto}, {"off", AutoOnOff::kOff}},
           "keeps a frozen teacher's logits where augmentations make a counted number of views of a sample")
      .def("auto");
  s.field("cuda_graph", &T::cuda_graph,
          "records the kernels of a step once per epoch and runs them again for the others, on a GPU and where every "
          "part of the stage allows it")
      .def(true);
  s.field(
       "sync_batch_norm", &T::sync_batch_norm,
       "where several processes train together: batch norm takes its statistics over the images of all of them, as one "
       "process would; without it each over its own")
      .def(false);
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
  s.choice("keep_images", &T::keep_images, {{"auto", AutoOnOff::kAuto}, {"off", AutoOnOff::kOff}},
           "keeps the images of a data set that reads them from files in memory where they fit")
      .def("auto");
  s.field("loader_threads", &T::loader_threads, "threads that read images from files; 0: one for each processor")
      .def(0)
      .range(0, 1024);
  s.field("checkpoint_seconds", &T::checkpoint_seconds,
          "time between two checkpoints, within an epoch too; 0: one at the end of each epoch")
      .def(60.0)
      .at_least(0);
}

void UnlabelledSource::schema(Schema<UnlabelledSource>& s) {
  s.field("share", &UnlabelledSource::share, "of each batch; an epoch shows the labelled images once. 1: these images alone, once an epoch")
      .def(0.5)
      .above(0)
      .at_most(1);
  s.field("images", &UnlabelledSource::images, "so many of its training images, evenly spread; 0: all")
      .def(0)
      .at_least(0);
  s.field("exclude_classes", &UnlabelledSource::exclude_classes, "classes of it whose images are left out")
      .def(std::vector<std::int64_t>{})
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
  s.component("unlabelled_from", &D::unlabelled_from, "dataset",
              "another data set, whose training images come without labels beside those of this one, such as pictures "
              "of other classes: losses that need no label see them")
      .with(fields_of<UnlabelledSource>())
      .optional();
}

namespace {

/// The keys that say where weights come from; `T` derives from NetworkSource.
template <class T>
void declare_source(Schema<T>& s, const std::string& help_of_file) {
  s.field("stage", &T::stage, "an earlier stage of this recipe, or of `run`").def("");
  s.field("run", &T::run, "a run folder that holds the stage").def("");
  s.field("file", &T::file, help_of_file).def("");
  s.field("network", &T::network, "which network of the stage; its only one where left out").def("");
  s.field("checkpoint", &T::checkpoint,
          "best: the epoch with the highest validation accuracy, which the table reports (without a validation split "
          "the last one); or last")
      .def("best");
}

}  // namespace

void InitPlan::schema(Schema<InitPlan>& s) {
  declare_source(s, "a .safetensors file, or what torch.save wrote");
  s.field("parts", &InitPlan::parts,
          "the parts that are taken, by the beginnings of their names: [\"conv1\", \"layer1\"], and [\"adapter.NAME\"] "
          "for what a loss trained; []: all that fits in name and shape")
      .def(std::vector<std::string>{});
}

void TeacherPlan::schema(Schema<TeacherPlan>& s) {
  using T = TeacherPlan;
  declare_source(s, "a .safetensors file, or what torch.save wrote; `model` says of what network");
  s.component("model", &T::model, "model", "the network whose weights `file` holds").optional();
  s.field("weight", &T::weight, "share among several teachers").def(1.0).at_least(0);
  s.field("temperature", &T::temperature,
          "divides its logits before anything else, such as what temperature scaling found on held-out images")
      .def(1.0)
      .above(0);
  s.field("training_mode", &T::training_mode,
          "answers with dropout and batch statistics as in training, as some published code does unawares")
      .def(false);
}

void RecipeKeys::schema(Schema<RecipeKeys>& s) {
  s.field("title", &RecipeKeys::title, "one line on what this is").def("");
  s.field("seed", &RecipeKeys::seed, "of everything random").def(0).at_least(0);
  s.field("device", &RecipeKeys::device, "auto, cpu, cuda or cuda:N").def("auto");
  s.component("data", &RecipeKeys::data, "dataset", "what is learned").with(fields_of<DataSelection>());
  s.components("analysis", &RecipeKeys::analyses, "analysis", "what is looked at after training")
      .def(Value(Value::List{}));
}

namespace {

/// The keys of NetworkSettings; `T` derives from it.
template <class T>
void declare_network_settings(Schema<T>& s) {
  s.table("init", &T::init,
          "weights to begin with in place of random ones: those of another stage or a file, as far as they fit");
  s.field(
       "freeze", &T::freeze,
       "parts that keep their weights and answer as in evaluation, by the beginnings of their parameters' names, such "
       "as [\"conv1\", \"layer1\"]")
      .def(std::vector<std::string>{});
  s.field("rates", &T::rates,
          "factors of the learning rate for parts: { layer1 = 0.1, fc = 10 }, and \"adapter\" for what losses train")
      .def_toml("{}")
      .at_least(0);
}

}  // namespace

void NetworkExtras::schema(Schema<NetworkExtras>& s) {
  using E = NetworkExtras;
  s.field("name", &E::name, "of the network; its type where left out").def("");
  s.field("count", &E::count, "how many such networks").def(1).range(1, 1024);
  s.component("optimizer", &E::optimizer, "optimizer", "its own optimizer; the stage's where left out").optional();
  s.component("schedule", &E::schedule, "schedule", "its own schedule; the stage's where left out").optional();
  declare_network_settings(s);
}

void StageKeys::schema(Schema<StageKeys>& s) {
  s.field("name", &StageKeys::name, "by which later stages and overrides speak of it");
  s.component("scheme", &StageKeys::scheme, "scheme", "how the networks learn").def_toml("{ type = 'supervised' }");
  s.component("model", &StageKeys::model, "model", "the network that is trained").optional();
  s.components("models", &StageKeys::models, "model", "the networks that are trained, where they are several")
      .with(fields_of<NetworkExtras>())
      .def(Value(Value::List{}));
  declare_network_settings(s);
}

std::vector<RecipeSection> recipe_sections() {
  return {
      {"recipe", "the top level of a recipe", fields_of<RecipeKeys>()},
      {"data", "beside the parameters of any data set; a stage may have its own", fields_of<DataSelection>()},
      {"stage", "what a stage trains and how, in [[stage]]", fields_of<StageKeys>()},
      {"train", "settings of every stage, in [train]; a stage may override any of them", fields_of<TrainSettings>()},
      {"models", "beside each of the `models` of a stage", fields_of<NetworkExtras>()},
      {"teachers", "each of the `teachers` of a stage", fields_of<TeacherPlan>()},
      {"init", "what a network begins with", fields_of<InitPlan>()}};
}

std::vector<std::string> keys_beside(const std::string& kind) {
  std::vector<std::string> keys{"type"};
  const auto add = [&keys](const std::vector<FieldInfo>& fields) {
    for (const FieldInfo& field : fields) keys.push_back(field.name);
  };
  if (kind == "dataset") add(fields_of<DataSelection>());
  if (kind == "model") add(fields_of<NetworkExtras>());
  if (kind == "loss") keys.emplace_back("weight");  // LossList::extras()
  return keys;
}

}  // namespace kd
