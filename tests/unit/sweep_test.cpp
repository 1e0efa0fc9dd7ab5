// Tests of sweeps: what is varied, the points that it makes, what is refused, and what becomes of points.
#include "recipe/sweep.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "report/table_views.h"
#include "sweep/child_process.h"
#include "sweep/sweep_folder.h"
#include "sweep/sweep_runner.h"
#include "temporary_folder.h"

namespace {

struct Nothing {
  static void schema(kd::Schema<Nothing>&) {}
};
struct Net {
  std::int64_t depth = 8;
  static void schema(kd::Schema<Net>& s) { s.field("depth", &Net::depth, "layers").def(8).at_least(1); }
};
struct Kd {
  double temperature = 4;
  static void schema(kd::Schema<Kd>& s) { s.field("temperature", &Kd::temperature, "T").def(4.0).above(0); }
};
struct Weight {
  double weight = 1;
  static void schema(kd::Schema<Weight>& s) { s.field("weight", &Weight::weight, "of the loss").def(1.0); }
};
struct Distilled {
  std::vector<kd::ComponentSpec> losses;
  static void schema(kd::Schema<Distilled>& s) {
    s.components("losses", &Distilled::losses, "loss", "losses")
        .with(kd::fields_of<Weight>())
        .def(kd::Value(kd::Value::List{}));
  }
};
struct Sgd {
  double lr = 0.1;
  static void schema(kd::Schema<Sgd>& s) { s.field("lr", &Sgd::lr, "rate").def(0.1); }
};

class Catalog final : public kd::ComponentCatalog {
 public:
  const std::vector<kd::FieldInfo>* fields(const std::string& kind, const std::string& type) const override {
    const auto found = fields_.find({kind, type});
    return found == fields_.end() ? nullptr : &found->second;
  }
  std::vector<std::string> names(const std::string& kind) const override {
    std::vector<std::string> result;
    for (const auto& [key, fields] : fields_) {
      if (key.first == kind) result.push_back(key.second);
    }
    return result;
  }
  kd::Roles roles(const std::string&, const std::string& type) const override {
    kd::Roles roles;
    roles.fewest_teachers = roles.most_teachers = type == "distilled" ? 1 : 0;
    return roles;
  }

 private:
  const std::map<std::pair<std::string, std::string>, std::vector<kd::FieldInfo>> fields_ = {
      {{"dataset", "digits"}, kd::fields_of<Nothing>()},     {{"model", "net"}, kd::fields_of<Net>()},
      {{"loss", "cross_entropy"}, kd::fields_of<Nothing>()}, {{"loss", "kd"}, kd::fields_of<Kd>()},
      {{"scheme", "supervised"}, kd::fields_of<Nothing>()},  {{"scheme", "distilled"}, kd::fields_of<Distilled>()},
      {{"optimizer", "sgd"}, kd::fields_of<Sgd>()}};
};

constexpr const char* kRecipe = R"(seed = 5
[data]
type = "digits"
[train]
optimizer = { type = "sgd" }
[[stage]]
name = "teacher"
model = { type = "net" }
[[stage]]
name = "student"
model = { type = "net" }
scheme = { type = "distilled", losses = [{ type = "cross_entropy", weight = 0.1 }, { type = "kd", weight = 0.9 }] }
teachers = [{ stage = "teacher" }]
)";

kd::SweepPlan read(const TemporaryFolder& folder, const std::string& sweep, const kd::SweepOptions& options = {},
                   const kd::RecipeOptions& recipe = {}) {
  return kd::read_sweep(folder.write("r.toml", std::string(kRecipe) + sweep), recipe, options, Catalog());
}

std::vector<std::string> labels(const kd::SweepPlan& plan) {
  std::vector<std::string> all;
  for (const kd::SweepPoint& point : plan.points) all.push_back(plan.label(point));
  return all;
}

/// What read_sweep() refuses, without the folder.
std::string refusal(const std::string& sweep, const kd::SweepOptions& options = {}) {
  const TemporaryFolder folder;
  try {
    read(folder, sweep, options);
  } catch (const kd::RecipeError& error) {
    std::string text = error.what();
    for (std::size_t at = 0; (at = text.find(folder.path.string() + "/")) != std::string::npos;)
      text.erase(at, folder.path.string().size() + 1);
    return text;
  }
  return "";
}

TEST(Sweep, TakesEveryCombinationOfAGridWithEverySeed) {
  const TemporaryFolder folder;
  const auto plan = read(folder, R"([sweep]
seeds = [0, 1]
grid = { "stage.student.scheme.losses.kd.temperature" = [1, 4], "stage.student.optimizer.lr" = [0.1, 0.2] }
)");
  EXPECT_EQ(labels(plan), (std::vector<std::string>{"temperature=1, lr=0.1, seed 0", "temperature=1, lr=0.1, seed 1",
                                                    "temperature=1, lr=0.2, seed 0", "temperature=1, lr=0.2, seed 1",
                                                    "temperature=4, lr=0.1, seed 0", "temperature=4, lr=0.1, seed 1",
                                                    "temperature=4, lr=0.2, seed 0", "temperature=4, lr=0.2, seed 1"}));
  EXPECT_EQ(plan.points[5].overrides(), (std::vector<std::string>{"stage.student.scheme.losses.kd.temperature=4",
                                                                  "stage.student.optimizer.lr=0.1", "seed=1"}));
  EXPECT_EQ(plan.points[5].plan.seed, 1);
  const std::string scheme = plan.points[7].plan.stages[1].resolved.find("scheme")->to_toml();
  EXPECT_NE(scheme.find("temperature = 4"), std::string::npos) << scheme;
  EXPECT_EQ(plan.points[7].plan.stages[1].resolved.find("optimizer")->to_toml(), "{ type = \"sgd\", lr = 0.2 }");
}

TEST(Sweep, WithoutAnythingVariedIsTheRecipeOnce) {
  const TemporaryFolder folder;
  EXPECT_EQ(labels(read(folder, "")), std::vector<std::string>{"seed 5"});
  EXPECT_EQ(labels(read(folder, "", {.grid = {}, .zip = {}, .list = {}, .seeds = {1, 2}})),
            (std::vector<std::string>{"seed 1", "seed 2"}));
}

TEST(Sweep, KeysMayBeTablesInTables) {
  const TemporaryFolder folder;
  const auto plan = read(folder, "[sweep.grid]\nstage.student.model.depth = [1, 2]\ntrain.epochs = [3]\n");
  EXPECT_EQ(labels(plan), (std::vector<std::string>{"depth=1, epochs=3, seed 5", "depth=2, epochs=3, seed 5"}));
}

TEST(Sweep, ZipTakesValuesPlaceByPlace) {
  const TemporaryFolder folder;
  const auto plan =
      read(folder, "[sweep]\nzip = { \"train.epochs\" = [1, 2], \"stage.teacher.model.depth\" = [3, 4] }\n");
  EXPECT_EQ(labels(plan), (std::vector<std::string>{"epochs=1, depth=3, seed 5", "epochs=2, depth=4, seed 5"}));
}

TEST(Sweep, AListHoldsChosenCombinations) {
  const TemporaryFolder folder;
  const auto plan = read(folder, R"([sweep]
list = [{ "train.epochs" = 1 }, { "train.epochs" = 2, "stage.student.model" = { type = "net", depth = 3 } }]
)");
  EXPECT_EQ(labels(plan),
            (std::vector<std::string>{"epochs=1, seed 5", "epochs=2, model={ type = \"net\", depth = 3 }, seed 5"}));
}

TEST(Sweep, TheCommandLineAddsAndReplacesSeeds) {
  const TemporaryFolder folder;
  const auto plan = read(folder, "[sweep]\nseeds = [0, 1]\ngrid = { \"train.epochs\" = [1, 2] }\n",
                         {.grid = {"stage.student.optimizer.lr=[0.5]"}, .zip = {}, .list = {}, .seeds = {7}});
  EXPECT_EQ(labels(plan), (std::vector<std::string>{"epochs=1, lr=0.5, seed 7", "epochs=2, lr=0.5, seed 7"}));
  const auto listed = read(folder, "",
                           {.grid = {},
                            .zip = {"train.epochs=[1, 2]", "stage.teacher.model.depth=[3, 4]"},
                            .list = {"{ \"train.batch_size\" = 8 }"},
                            .seeds = {}});
  EXPECT_EQ(labels(listed), (std::vector<std::string>{"epochs=1, depth=3, batch_size=8, seed 5",
                                                      "epochs=2, depth=4, batch_size=8, seed 5"}));
}

TEST(Sweep, ANameIsAsLongAsItNeedsToBe) {
  const TemporaryFolder folder;
  const auto plan =
      read(folder, "[sweep.grid]\n\"stage.student.model.depth\" = [1]\n\"stage.teacher.model.depth\" = [2]\n");
  EXPECT_EQ(plan.short_keys, (std::vector<std::string>{"student.model.depth", "teacher.model.depth"}));
}

TEST(Sweep, AComplementMakesUpTheRest) {
  const TemporaryFolder folder;
  const auto plan = read(folder, R"([sweep]
grid = { "stage.student.scheme.losses.kd.weight" = { values = [0.1, 0.9], complement = true } }
)");
  EXPECT_EQ(plan.points[1].overrides(),
            (std::vector<std::string>{"stage.student.scheme.losses.kd.weight=0.9",
                                      "stage.student.scheme.losses.0.weight=0.1", "seed=5"}));
  const std::string losses = plan.points[0].plan.stages[1].resolved.find("scheme")->find("losses")->to_toml();
  EXPECT_NE(losses.find("\"cross_entropy\", weight = 0.9"), std::string::npos) << losses;
}

TEST(Sweep, SharedStagesAreKnownByWhatTheyFollowFrom) {
  const TemporaryFolder folder;
  const auto plan = read(folder, "[sweep]\nseeds = [0, 1]\ngrid = { \"stage.student.optimizer.lr\" = [0.1, 0.2] }\n");
  std::set<std::string> teachers, students;
  for (const kd::SweepPoint& point : plan.points) {
    const auto identities = kd::stage_identities(point.plan);
    teachers.insert(identities.at("teacher"));
    students.insert(identities.at("student"));
  }
  EXPECT_EQ(teachers.size(), 2U);  // one for each seed
  EXPECT_EQ(students.size(), 4U);
  const auto deeper = read(folder, "[sweep]\ngrid = { \"stage.teacher.model.depth\" = [1, 2] }\n");
  EXPECT_NE(kd::stage_identities(deeper.points[0].plan).at("student"),
            kd::stage_identities(deeper.points[1].plan).at("student"));
}

TEST(Sweep, SaysWhatIsWrongWithItsTable) {
  EXPECT_EQ(refusal("[sweep]\ngrit = {}\n"),
            "r.toml:15:1: error: sweep: unknown key 'grit'\n    hint: did you mean 'grid'?");
  EXPECT_EQ(refusal("[sweep]\nseeds = [0, -1]\n"),
            "r.toml:15:13: error: sweep: -1 is no seed: an integer of at least 0 is wanted");
  EXPECT_EQ(refusal("[sweep]\nseeds = [1, 1]\n"), "r.toml:15:13: error: sweep: 'seeds' has the value 1 twice");
  EXPECT_EQ(refusal("[sweep]\ngrid = { \"train.epochs\" = [] }\n"),
            "r.toml:15:27: error: sweep: 'train.epochs' wants a list of values, and this is an empty one");
  EXPECT_EQ(refusal("[sweep]\nzip = { \"train.epochs\" = [1, 2], \"train.batch_size\" = [3] }\n"),
            "r.toml:15:55: error: sweep: 'train.batch_size' has 1 values, and 'train.epochs' has 2: what is zipped is "
            "taken together, place by place");
  EXPECT_EQ(refusal("[sweep]\ngrid = { \"train.epochs\" = [1] }\nzip = { \"train.epochs\" = [2] }\n"),
            "r.toml:16:9: error: sweep: 'train.epochs' is varied twice\n"
            "    hint: the recipe's [sweep] and the command line add to each other: leave it out of one of them");
  EXPECT_EQ(refusal("[sweep]\ngrid = { seed = [1] }\n"),
            "r.toml:15:10: error: sweep: 'seed' is varied by 'seeds'\n    hint: seeds = [0, 1, 2]");
  EXPECT_NE(refusal("sweep = 3\n").find("hint"), std::string::npos);
}

TEST(Sweep, SaysWhereAPathOrAValueDoesNotFit) {
  EXPECT_EQ(refusal("[sweep]\ngrid = { \"stage.studnet.model.depth\" = [1, 2] }\n"),
            "r.toml:15:10: error: there is no stage 'studnet'\n    hint: did you mean 'student'?");
  EXPECT_EQ(refusal("[sweep]\ngrid = { \"stage.student.scheme.losses.kdd.weight\" = [1] }\n"),
            "r.toml:15:10: error: there is no 'kdd' in a list of 2\n    hint: did you mean 'kd'?");
  const std::string unknown = refusal("[sweep]\ngrid = { \"stage.student.scheme.losses.kd.temprature\" = [1] }\n");
  EXPECT_NE(unknown.find("r.toml:15:10: error: "), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("did you mean 'temperature'?"), std::string::npos) << unknown;
  // Each once, although several points have it.
  const std::string value = refusal("[sweep]\nseeds = [0, 1]\ngrid = { \"stage.student.model.depth\" = [1, 0] }\n");
  EXPECT_NE(value.find("r.toml:16:44: error: "), std::string::npos) << value;
  EXPECT_EQ(value.find("error: "), value.rfind("error: ")) << value;
}

TEST(Sweep, WhatIsNoTableIsNoCombination) {
  EXPECT_EQ(refusal("[sweep]\nlist = [3]\n"),
            "r.toml:15:9: error: sweep: a combination of 'list' is a table, and this is an integer");
  EXPECT_NE(refusal("", {.grid = {}, .zip = {}, .list = {"[]"}, .seeds = {}}).find("is a table"), std::string::npos);
  EXPECT_EQ(refusal("[sweep]\ngrid = { \"sweep.seeds\" = [1, 2] }\n"),
            "r.toml:15:10: error: sweep: 'sweep.seeds' is no setting of a run");
}

TEST(Sweep, APointIsTrainedAsItIsCalled) {
  const std::string losses = "stage.student.scheme.losses.";
  // One setting by two names: the later one would win in silence.
  EXPECT_EQ(
      refusal("[sweep]\ngrid = { \"" + losses + "kd.temperature\" = [1, 2], \"" + losses + "1.temperature\" = [4] }\n"),
      "r.toml:15:10: error: sweep: '" + losses + "kd.temperature' is changed again by another setting of the sweep");
  EXPECT_NE(refusal("[sweep]\ngrid = { \"stage.student.model.depth\" = [1, 2], \"stage.student.model\" = [{ type = "
                    "\"net\", depth "
                    "= 3 }] }\n")
                .find("'stage.student.model.depth' is changed again"),
            std::string::npos);
  EXPECT_NE(refusal("[sweep]\ngrid = { \"" + losses + "0.weight\" = [3], \"" + losses +
                    "kd.weight\" = { values = [0.2], complement = true } }\n")
                .find("'" + losses + "0.weight' is changed again"),
            std::string::npos);
  const TemporaryFolder folder;
  EXPECT_THROW(read(folder, "[sweep]\ngrid = { \"train.epochs\" = [1, 2] }\n", {},
                    {.profile = "", .overrides = {"train.epochs=5"}}),
               kd::RecipeError);
}

TEST(Sweep, RefusesTwoPointsThatAreTheSame) {
  EXPECT_NE(refusal("", {.grid = {}, .zip = {}, .list = {}, .seeds = {1, 1}})
                .find("two points are the same: 'seed 1' and 'seed 1'"),
            std::string::npos);
  EXPECT_NE(
      refusal("[sweep]\nlist = [{ \"train.epochs\" = 2 }, { \"train.epochs\" = 2 }]\n").find("two points are the same"),
      std::string::npos);
}

TEST(Sweep, SaysWhatHasNoComplement) {
  const auto complement = [](const std::string& path, const std::string& values) {
    return refusal("[sweep]\ngrid = { \"" + path + "\" = { values = " + values + ", complement = true } }\n");
  };
  EXPECT_NE(
      complement("train.epochs", "[1]").find("'complement' of 'train.epochs': there is no list of losses around it"),
      std::string::npos);
  EXPECT_NE(complement("stage.student.scheme.losses.kd.weight", "[2]").find("2 is not in [0, 1]"), std::string::npos);
  EXPECT_NE(refusal("[sweep]\ngrid = { \"train.epochs\" = { value = [1] } }\n").find("did you mean 'values'?"),
            std::string::npos);
}

TEST(Sweep, PointsAtTheOptionOfTheCommandLine) {
  EXPECT_EQ(refusal("", {.grid = {"train.epochs"}, .zip = {}, .list = {}, .seeds = {}}),
            "override 'train.epochs':1: error: an override reads key=value\n    hint: for example train.epochs=5");
  EXPECT_EQ(
      refusal("", {.grid = {"train.epochs=3"}, .zip = {}, .list = {}, .seeds = {}}),
      "override 'train.epochs=3':14: error: sweep: 'train.epochs' wants a list of values, and this is an integer");
}

// ---- folders and programs

kd::SweepPlan small_plan(const TemporaryFolder& folder) {
  return read(folder, "[sweep]\nseeds = [0, 1]\ngrid = { \"stage.student.optimizer.lr\" = [0.1, 0.2] }\n");
}

/// A stand-in of kdrun: makes a run folder named after its last override, and does what its script says of it.
std::string write_program(const TemporaryFolder& folder, const std::string& body) {
  const std::string summary = kd::to_json(kd::Table{.name = "summary",
                                                    .caption = "",
                                                    .columns = {{"stage", kd::ColumnType::kText},
                                                                {"network", kd::ColumnType::kText},
                                                                {"top1", kd::ColumnType::kShare}},
                                                    .rows = {{"student", "model", 0.5}}});
  folder.write("summary.json", summary);
  const std::string file = folder.write("program", "#!/bin/bash\nhere=" + folder.path.string() +
                                                       "\nseed=${@: -1}\nrate=${@: -2:1}\nname=$rate-$seed\n" + body);
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  return file;
}

constexpr const char* kFinish = R"(mkdir -p $here/runs/$name
cp $here/summary.json $here/runs/$name/
echo '{"status": "ok"}' > $here/runs/$name/run.json
echo "{\"event\": \"run\", \"folder\": \"$here/runs/$name\"}"
)";

class Watcher final : public kd::SweepObserver {
 public:
  void started(std::size_t point) override {
    events.push_back("+" + std::to_string(point));
    most = std::max(most, ++running);
  }
  void told(std::size_t, const nlohmann::json&) override {}
  void ended(std::size_t point) override {
    events.push_back("-" + std::to_string(point));
    --running;
  }
  void waited() override {}

  std::vector<std::string> events;
  int running = 0, most = 0;
};

std::vector<std::string> statuses(const kd::SweepFolder& folder) {
  std::vector<std::string> all;
  for (const kd::PointState& state : folder.states()) all.push_back(kd::name_of(state.status));
  return all;
}

TEST(SweepRunner, RunsEveryPointAndKeepsTheResults) {
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);
  kd::SweepFolder sweep(folder.path / "runs", plan, "");
  Watcher watcher;
  kd::run_sweep(plan, sweep, {.command = {write_program(folder, kFinish)}, .jobs = 2}, watcher);
  EXPECT_EQ(statuses(sweep), std::vector<std::string>(4, "done"));
  const kd::Table points = kd::points_table(plan, sweep.states());
  EXPECT_EQ(points.columns.back().name, "student/test/top1");
  EXPECT_EQ(points.rows[3].back(), kd::Cell(0.5));
  const std::string csv = kd::read_text(sweep.path() / "points.csv");
  EXPECT_NE(csv.find("point,stage.student.optimizer.lr,seed,status,reason,run,seconds,student/test/top1"),
            std::string::npos)
      << csv;
}

TEST(SweepRunner, GoesOnWithWhatIsMissing) {
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);
  {
    kd::SweepFolder sweep(folder.path / "runs", plan, "");
    Watcher watcher;
    const std::string body = std::string("[ $seed = seed=1 ] && exit 3\n") + kFinish;
    kd::run_sweep(plan, sweep, {.command = {write_program(folder, body)}, .jobs = 1}, watcher);
    EXPECT_EQ(statuses(sweep), (std::vector<std::string>{"done", "failed", "done", "failed"}));
  }
  std::filesystem::remove_all(folder.path / "runs" / "stage.student.optimizer.lr=0.2-seed=0");
  kd::SweepFolder sweep(folder.path / "runs", plan, "");
  EXPECT_EQ(statuses(sweep), (std::vector<std::string>{"done", "waiting", "waiting", "waiting"}));
  Watcher watcher;
  kd::run_sweep(plan, sweep, {.command = {write_program(folder, kFinish)}, .jobs = 1}, watcher);
  EXPECT_EQ(statuses(sweep), std::vector<std::string>(4, "done"));
  EXPECT_EQ(watcher.events, (std::vector<std::string>{"+1", "-1", "+2", "-2", "+3", "-3"}));
}

TEST(SweepRunner, APointWhoseResultIsDamagedIsTrainedAgain) {
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);
  const std::string program = write_program(folder, kFinish);
  {
    kd::SweepFolder sweep(folder.path / "runs", plan, "");
    Watcher watcher;
    kd::run_sweep(plan, sweep, {.command = {program}, .jobs = 1}, watcher);
  }
  const std::string run = "runs/stage.student.optimizer.lr=0.1-seed=";
  folder.write(run + "0/summary.json", "{ cut");
  folder.write(run + "1/run.json", R"({"status": 3})");
  kd::SweepFolder sweep(folder.path / "runs", plan, "");
  EXPECT_EQ(statuses(sweep), (std::vector<std::string>{"waiting", "waiting", "done", "done"}));
  folder.write(std::filesystem::relative(sweep.path() / "sweep.json", folder.path).string(), R"({"points": 3})");
}

TEST(SweepRunner, TellsWhyAPointFailed) {
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);
  kd::SweepFolder sweep(folder.path / "runs", plan, "");
  Watcher watcher;
  const std::string body =
      "case $name in *0.1-seed=0) echo 'error: the loss is not finite' >&2; echo '    hint: lower it' >&2; echo more "
      ">&2; "
      "exit 3;; *0.1-seed=1) kill -KILL $$;; esac\n" +
      std::string(kFinish);
  kd::run_sweep(plan, sweep, {.command = {write_program(folder, body)}, .jobs = 1}, watcher);
  EXPECT_EQ(sweep.states()[0].reason, "error: the loss is not finite\n    hint: lower it");
  EXPECT_EQ(sweep.states()[1].reason,
            "it ended with signal 9 and said nothing: see " + (sweep.path() / "logs" / "1.txt").string());
  EXPECT_EQ(statuses(sweep), (std::vector<std::string>{"failed", "failed", "done", "done"}));
}

TEST(SweepRunner, APointWaitsUntilAStageThatItSharesIsTrained) {
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);  // points 0 and 2 share a teacher, and so do 1 and 3
  kd::SweepFolder sweep(folder.path / "runs", plan, "");
  Watcher watcher;
  const std::string begin = "sleep 0.2\n";
  const std::string body = begin + "echo '{\"event\": \"stage\", \"stage\": \"teacher\"}'\nsleep 1.5\n" + kFinish;
  kd::run_sweep(plan, sweep, {.command = {write_program(folder, body)}, .jobs = 4}, watcher);
  EXPECT_EQ(watcher.most, 4);  // the others begin as soon as the teachers are there, not when the students are
  ASSERT_GE(watcher.events.size(), 2U);
  EXPECT_EQ(watcher.events[0], "+0");
  EXPECT_EQ(watcher.events[1], "+1");
  EXPECT_EQ(statuses(sweep), std::vector<std::string>(4, "done"));
}

TEST(SweepRunner, SharesOutTheProcessors) {
  const std::vector<int> cores = kd::allowed_cores();
  if (cores.size() < 2) GTEST_SKIP() << "one processor";
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);
  kd::SweepFolder sweep(folder.path / "runs", plan, "");
  Watcher watcher;
  const std::string body = std::string("nproc >> $here/cores\n") + kFinish;
  kd::run_sweep(plan, sweep, {.command = {write_program(folder, body)}, .jobs = cores.size()}, watcher);
  EXPECT_EQ(kd::read_text(folder.path / "cores"), "1\n1\n1\n1\n");
}

TEST(SweepRunner, StopsItsProgramsWhereItIsAskedTo) {
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);
  kd::SweepFolder sweep(folder.path / "runs", plan, "");
  Watcher watcher;
  const auto begin = std::chrono::steady_clock::now();
  const auto stop = [&] { return std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(300); };
  const std::string body = "trap 'exit 75' TERM\nfor i in $(seq 100); do sleep 0.1; done\n";
  kd::run_sweep(plan, sweep, {.command = {write_program(folder, body)}, .jobs = 1, .devices = {}, .stop = stop},
                watcher);
  EXPECT_EQ(statuses(sweep), (std::vector<std::string>{"stopped", "waiting", "waiting", "waiting"}));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(SweepRunner, TwoOfOneSweepAreOneTooMany) {
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);
  const kd::SweepFolder sweep(folder.path / "runs", plan, "");
  try {
    const kd::SweepFolder second(folder.path / "runs", plan, "");
    FAIL();
  } catch (const kd::Error& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("another process runs this sweep, in " + sweep.path().string()));
    EXPECT_TRUE(std::string(error.what()).ends_with(", process " + std::to_string(::getpid()) + ")"));
  }
  // Another choice of steps is another sweep.
  EXPECT_NE(kd::SweepFolder(folder.path / "runs", plan, "steps 3").path(), sweep.path());
}

TEST(SweepRunner, DevicesAreTakenInTurn) {
  const TemporaryFolder folder;
  const auto plan = small_plan(folder);
  kd::SweepFolder sweep(folder.path / "runs", plan, "");
  Watcher watcher;
  const std::string body = "echo $seed >> $here/devices\nsleep 0.3\n" + std::string("name=$RANDOM$RANDOM\n") + kFinish;
  kd::run_sweep(plan, sweep,
                {.command = {write_program(folder, "echo '{\"event\": \"stage\", \"stage\": \"teacher\"}'\n" + body)},
                 .jobs = 2,
                 .devices = {"cuda:0", "cuda:1"}},
                watcher);
  const std::string devices = kd::read_text(folder.path / "devices");
  EXPECT_GE(std::count(devices.begin(), devices.end(), '0'), 1) << devices;
  EXPECT_GE(std::count(devices.begin(), devices.end(), '1'), 1) << devices;
}

}  // namespace
