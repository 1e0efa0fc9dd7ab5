// Tests of what a command line may go on with.
#include "complete/complete.h"

#include <gtest/gtest.h>

#include <fstream>

#include "kd/diagnostics.h"
#include "temporary_folder.h"

namespace {

using Words = std::vector<std::string>;

kd::FieldInfo field(const std::string& name, kd::FieldType type, kd::Value value = {}) {
  kd::FieldInfo info;
  info.name = name;
  info.help = "help of " + name;
  info.type = type;
  info.default_value = std::move(value);
  return info;
}

kd::FieldInfo choice(const std::string& name, Words choices) {
  kd::FieldInfo info = field(name, kd::FieldType::kChoice);
  info.choices = std::move(choices);
  return info;
}

kd::KnownOption option(const std::string& name, bool takes_value, Words choices = {}) {
  return {.name = name, .help = "", .takes_value = takes_value, .choices = std::move(choices)};
}

kd::Known make_known() {
  using enum kd::FieldType;
  kd::FieldInfo losses =
      field("losses", kComponentList, kd::Value::parse("[{ type = 'cross_entropy' }, { type = 'kd' }]"));
  losses.component_kind = "loss";
  kd::FieldInfo weight = field("weight", kScheduled);
  weight.component_kind = "schedule";
  losses.extras = {weight};
  kd::Known known;
  known.components = {{"loss", "cross_entropy", "of labels", {}},
                      {"loss",
                       "kd",
                       "soft targets",
                       {field("temperature", kNumber), choice("form", {"kl", "ce"}), field("exact", kBool)}},
                      {"model", "resnet", "a network", {field("depth", kInt), field("width", kInt)}},
                      {"model", "mlp", "layers", {field("hidden", kIntList)}},
                      {"optimizer", "sgd", "descent", {field("lr", kNumber)}},
                      {"schedule", "linear", "a line", {field("from", kNumber)}},
                      {"scheme", "supervised", "labels", {}},
                      {"scheme", "vanilla_kd", "a teacher", {losses}}};
  known.data_sets = {"mnist", "cifar100"};
  const auto recipe_options = {option("--profile", true), option("--device", true), option("--stage", true),
                               option("--json", false)};
  known.program = {
      .name = "kdrun",
      .help = "",
      .options = {option("--version", false)},
      .positionals = {},
      .commands = {
          {"run", "train", recipe_options, {"recipe", "overrides"}, {}},
          {"config", "show", {option("--explain", true)}, {"recipe", "overrides"}, {}},
          {"describe", "tell", {}, {"kind", "name"}, {}},
          {"list", "all", {}, {"kind"}, {}},
          {"eval", "again", {option("--checkpoint", true, {"best", "last"}), option("--out", true)}, {"run"}, {}},
          {"runs",
           "list",
           {option("--recipe", true)},
           {},
           {{"remove", "some", {option("--run-dir", true)}, {"run"}, {}}}},
          {"copy", "one", {}, {"recipe", "file"}, {}},
          {"data", "get", {}, {}, {{"fetch", "get", {}, {"name"}, {}}}}}};
  return known;
}

constexpr const char* kRecipe = R"(
[data]
type = "glyphs"
[train]
optimizer = { type = "sgd" }
[[stage]]
name = "teacher"
model = { type = "resnet" }
[[stage]]
name = "student"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher" }]
models = [{ type = "mlp" }, { type = "mlp" }]
[profile.small]
stage.teacher = { model = { type = "mlp" } }
[profile.smoke]
seed = 1
)";

/// Answers in a folder with a recipe and runs.
class Complete : public testing::Test {
 protected:
  Complete() {
    folder_.write("recipes/r.toml", kRecipe);
    folder_.write("recipes/broken.toml", "= 1");
    folder_.write("my own.toml", kRecipe);
    folder_.write("notes.txt", "");
    folder_.write("runs/ekd/1/run.json", "{}");
    folder_.write("runs/ekd/1/stages/student/result.json", "{}");
    folder_.write("runs/ekd/foreign/x", "");
    folder_.write("runs/.stages/student-0/run.json", "{}");
    folder_.write("other/kd/2/run.json", "{}");
    std::filesystem::current_path(folder_.path);
  }
  ~Complete() override { std::filesystem::current_path(before_); }

  /// The words that fit, with spaces between them.
  std::string words(const Words& typed) const {
    std::string text;
    const kd::Completion completion = kd::complete(typed, known_);
    for (const kd::Candidate& candidate : completion.candidates) text += (text.empty() ? "" : " ") + candidate.word;
    return text + (completion.files ? " :files" : "");
  }

  const kd::Known known_ = make_known();

 private:
  const std::filesystem::path before_ = std::filesystem::current_path();
  const TemporaryFolder folder_;
};

TEST_F(Complete, CommandsAndRecipes) {
  EXPECT_EQ(words({"r"}), "recipes/ runs/ run runs");
  EXPECT_EQ(words({"recipes/"}), "recipes/broken.toml recipes/r.toml");
  EXPECT_EQ(words({"./m"}), "./my own.toml");
  EXPECT_EQ(words({"run", "recipes/r"}), "recipes/r.toml");
  EXPECT_EQ(words({"runs", ""}), "remove");
  EXPECT_EQ(words({"data", "f"}), "fetch");
  EXPECT_EQ(words({}), words({""}));
  EXPECT_EQ(words({"nonsense", ""}), "");
}

TEST_F(Complete, OptionsAndTheirValues) {
  EXPECT_EQ(words({"run", "--"}), "--profile --device --stage --json");
  EXPECT_EQ(words({"--"}), "--version --profile --device --stage --json");
  EXPECT_EQ(words({"recipes/r.toml", "--pro"}), "--profile");
  EXPECT_EQ(words({"recipes/r.toml", "--profile", "s"}), "small smoke");
  EXPECT_EQ(words({"recipes/r.toml", "--profile=sm"}), "--profile=small --profile=smoke");
  EXPECT_EQ(words({"recipes/r.toml", "--profile", "small,smo"}), "small,smoke");
  EXPECT_EQ(words({"--profile", "x", "recipes/r.toml", "--json", "stage.t"}), "stage.teacher.");
  EXPECT_EQ(words({"recipes/r.toml", "--device", "c"}), "cpu cuda");
  EXPECT_EQ(words({"recipes/r.toml", "--stage", ""}), "teacher student");
  EXPECT_EQ(words({"eval", "--checkpoint", ""}), "best last");
  EXPECT_EQ(words({"eval", "--checkpoint=b"}), "--checkpoint=best");
  EXPECT_EQ(words({"eval", "--out", ""}), " :files");
  EXPECT_EQ(words({"eval", "--nonsense=", ""}), "runs/ekd/1 :files");
  EXPECT_EQ(words({"runs", "--recipe", ""}), "ekd");
}

TEST_F(Complete, ComponentsAndData) {
  EXPECT_EQ(words({"describe", "lo"}), "loss");
  EXPECT_EQ(words({"describe", "tr"}), "train");
  EXPECT_EQ(words({"list", "tr"}), "") << "a table of recipes has no components";
  EXPECT_EQ(words({"describe", "loss", ""}), "cross_entropy kd");
  EXPECT_EQ(words({"data", "fetch", "mnist", "c"}), "cifar100");
  EXPECT_EQ(kd::to_lines(kd::complete({"describe", "loss", "k"}, known_)), "kd\tsoft targets\n");
  EXPECT_EQ(kd::to_lines(kd::complete({"eval", "x"}, known_)), ":files\n");
}

TEST_F(Complete, RunFolders) {
  EXPECT_EQ(words({"eval", ""}), "runs/ekd/1 :files");
  EXPECT_EQ(words({"eval", "runs/ekd/1/"}), "runs/ekd/1/stages/student :files");
  EXPECT_EQ(words({"runs", "remove", "runs/ekd/1", "--run-dir", "other", ""}), "other/kd/2 :files");
}

TEST_F(Complete, StepsOfSettings) {
  const auto of = [&](const std::string& typed, const std::string& profile = "") {
    return words({"run", "recipes/r.toml", "--profile", profile, typed});
  };
  EXPECT_EQ(of("se"), "seed=");
  EXPECT_EQ(of("stage."), "stage.teacher. stage.student.");
  EXPECT_EQ(of("stage.student.sch"), "stage.student.scheme. stage.student.schedule.");
  EXPECT_EQ(of("stage.student.scheme."), "stage.student.scheme.type= stage.student.scheme.losses.");
  EXPECT_EQ(of("stage.student.scheme.losses."),
            "stage.student.scheme.losses.cross_entropy. stage.student.scheme.losses.0. "
            "stage.student.scheme.losses.kd. stage.student.scheme.losses.1.")
      << "the default list, since the recipe has none";
  EXPECT_EQ(of("stage.student.scheme.losses.kd."),
            "stage.student.scheme.losses.kd.type= stage.student.scheme.losses.kd.temperature= "
            "stage.student.scheme.losses.kd.form= stage.student.scheme.losses.kd.exact= "
            "stage.student.scheme.losses.kd.weight=");
  EXPECT_EQ(of("stage.student.scheme.losses.1.t"),
            "stage.student.scheme.losses.1.type= stage.student.scheme.losses.1.temperature=");
  EXPECT_EQ(of("stage.student.models."), "stage.student.models.0. stage.student.models.1.")
      << "neither has its type for itself";
  EXPECT_EQ(of("stage.student.models.1.h"), "stage.student.models.1.hidden=");
  EXPECT_EQ(of("stage.student.models.1.co"), "stage.student.models.1.count=");
  EXPECT_EQ(of("stage.student.teachers.0.ch"), "stage.student.teachers.0.checkpoint=");
  EXPECT_EQ(of("stage.teacher.optimizer."), "stage.teacher.optimizer.type= stage.teacher.optimizer.lr=")
      << "which [train] gives it";
  EXPECT_EQ(of("train.optimizer.l"), "train.optimizer.lr=");
  EXPECT_EQ(of("stage.teacher.model."),
            "stage.teacher.model.type= stage.teacher.model.depth= stage.teacher.model.width=");
  EXPECT_EQ(of("stage.teacher.model.", "small"), "stage.teacher.model.type= stage.teacher.model.hidden=");
  EXPECT_EQ(of("stage.teacher.init."),
            "stage.teacher.init.stage= stage.teacher.init.run= stage.teacher.init.file= "
            "stage.teacher.init.network= stage.teacher.init.checkpoint= stage.teacher.init.parts=");
  EXPECT_EQ(of("stage.nobody."), "");
  EXPECT_EQ(of("nonsense.x"), "");
  EXPECT_EQ(words({"run", "recipes/broken.toml", "train.ep"}), "train.epochs=") << "what every recipe has";
  EXPECT_EQ(words({"config", "recipes/r.toml", "--explain", "train.ep"}), "train.epochs");
}

TEST_F(Complete, ValuesOfSettings) {
  const auto of = [&](const std::string& typed) { return words({"recipes/r.toml", typed}); };
  EXPECT_EQ(of("stage.student.scheme.losses.kd.form="),
            "stage.student.scheme.losses.kd.form=\"kl\" stage.student.scheme.losses.kd.form=\"ce\"");
  EXPECT_EQ(of("stage.student.scheme.losses.kd.exact=t"), "stage.student.scheme.losses.kd.exact=true");
  EXPECT_EQ(of("stage.teacher.model.type=\"r"), "stage.teacher.model.type=\"resnet\"");
  EXPECT_EQ(of("train.epochs="), "");
  EXPECT_EQ(of("train.nonsense="), "");
  EXPECT_EQ(kd::to_lines(kd::complete({"recipes/r.toml", "stage.teacher.model.type=\"r"}, known_)),
            "stage.teacher.model.type=\"resnet\"\ta network\n");
}

TEST_F(Complete, WhatIsKnownComesBackFromAFile) {
  const kd::Known again = kd::known_from_json(kd::to_json(known_));
  EXPECT_EQ(kd::to_json(again), kd::to_json(known_));
  EXPECT_EQ(kd::to_lines(kd::complete({"run", "recipes/r.toml", "stage.student.scheme.losses.kd."}, again)),
            kd::to_lines(kd::complete({"run", "recipes/r.toml", "stage.student.scheme.losses.kd."}, known_)));
  for (const char* damaged : {"", "[]", "{\"program\": 3}"}) EXPECT_THROW(kd::known_from_json(damaged), kd::FileError);
}

TEST_F(Complete, TheStateOfAProgramChangesWithIt) {
  const TemporaryFolder folder;
  const std::string program = folder.write("kdrun", "1");
  ::setenv("KDRUN_PLUGIN_PATH", folder.path.c_str(), 1);
  const std::string before = kd::state_of_program(program);
  EXPECT_EQ(kd::state_of_program(program), before);
  folder.write("readme", "");
  EXPECT_EQ(kd::state_of_program(program), before) << "no library";
  folder.write("loss.so", "");
  const std::string with_plugin = kd::state_of_program(program);
  EXPECT_NE(with_plugin, before);
  folder.write("kdrun", "12");
  EXPECT_NE(kd::state_of_program(program), with_plugin);
  ::unsetenv("KDRUN_PLUGIN_PATH");
}

TEST(ShellScript, AsksTheProgramUnderAnyName) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = kd::shell_script(shell, {"/home/o'neil/kdrun", "complete", "--"});
    EXPECT_NE(script.find("'/home/o'\\''neil/kdrun' 'complete' '--'"), std::string::npos) << script;
    EXPECT_EQ(script.find("@COMMAND@"), std::string::npos);
  }
  EXPECT_THROW(kd::shell_script("csh", {"kdrun"}), kd::RecipeError);
}

}  // namespace
