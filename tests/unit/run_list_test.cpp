// Tests of the list of runs, and of what removing them takes with it.
#include "report/run_list.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

#include "files/atomic_file.h"
#include "files/file_lock.h"
#include "kd/diagnostics.h"
#include "record/remove_runs.h"
#include "report/recipe_references.h"
#include "report/table_views.h"
#include "temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

std::string this_host() {
  utsname name{};
  ::uname(&name);
  return name.nodename;
}

const std::string kTeacher = "teacher-0123456789abcdef", kStudent = "student-fedcba9876543210";

/// A folder of runs: runs/RECIPE/NAME with links into runs/.stages.
class RunsFolder : public TemporaryFolder {
 public:
  const fs::path runs = path / "runs";

  fs::path stage(const std::string& name, bool finished = true) const {
    write("runs/.stages/" + name + "/ckpt/last/model.safetensors", std::string(20000, 'w'));
    write("runs/.stages/" + name + ".lock", "");
    if (finished) write("runs/.stages/" + name + "/result.json", "{}");
    return runs / ".stages" / name;
  }

  fs::path run(const std::string& name, const Names& stages, const nlohmann::json& more = {}) const {
    nlohmann::json facts = {{"status", "ok"},
                            {"started", "2026-11-26T09:38:33+0000"},
                            {"updated", "2026-11-26T09:40:03+0000"},
                            {"process", 1},
                            {"arguments", {"recipes/ekd.toml", "--profile", "small"}},
                            {"host", {{"name", this_host()}}}};
    if (!more.is_null()) facts.update(more);
    write("runs/" + name + "/run.json", facts.dump());
    write("runs/" + name + "/resolved.toml",
          "title = \"a \\n[b]\"\nseed = 3\n\n[[stage]]\nname = \"student\"\nseed = 9\n");
    fs::create_directories(runs / name / "stages");
    for (const std::string& one : stages) {
      fs::create_symlink(fs::path("../../../.stages") / one, runs / name / "stages" / one.substr(0, one.find('-')));
    }
    return runs / name;
  }
};

std::string text_of(const Names& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return std::regex_replace(text, std::regex("[0-9.]+ kB"), "SIZE");
}

/// What is said of a removal, with "runs" for the folder of runs.
std::string plan_text(const RunsFolder& folder, const kd::Removal& removal) {
  std::string text = text_of(kd::describe(removal));
  for (std::size_t at = 0; (at = text.find(folder.runs.string())) != std::string::npos;)
    text.replace(at, folder.runs.string().size(), "runs");
  return text;
}

std::string removed_text(const RunsFolder& folder, const kd::Removal& removal) {
  Names lines;
  kd::remove(removal, [&](const std::string& line) { lines.push_back(line); });
  std::string text = text_of(lines);
  for (std::size_t at = 0; (at = text.find(folder.runs.string())) != std::string::npos;)
    text.replace(at, folder.runs.string().size(), "runs");
  return text;
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const kd::Error& error) {
    return error.text();
  }
  return "no error";
}

TEST(RunList, TellsWhatARunIs) {
  const RunsFolder folder;
  folder.stage(kTeacher);
  folder.run("ekd/20260101-000000-aaaaaaaa", {kTeacher});
  const kd::RunList list = kd::list_runs(folder.runs);
  ASSERT_EQ(list.runs.size(), 1U);
  const kd::ListedRun& run = list.runs[0];
  EXPECT_EQ(run.problem, "");
  EXPECT_EQ(run.recipe, "ekd");
  EXPECT_EQ(run.status, "ok");
  EXPECT_EQ(run.seed, "3");
  EXPECT_EQ(run.profile, "small");
  EXPECT_DOUBLE_EQ(run.seconds, 90);
  EXPECT_EQ(run.stages, std::vector<fs::path>{folder.runs / ".stages" / kTeacher});
  const kd::Table table = kd::run_table(list.runs);
  const std::string shown = std::regex_replace(kd::to_console(table), std::regex(" +"), " ");
  EXPECT_EQ(std::regex_replace(shown, std::regex("[0-9.]+ kB"), "SIZE"),
            "recipe run status seed profile when seconds own stages\n"
            "ekd 20260101-000000-aaaaaaaa ok 3 small 2026-11-26 09:38:33 90.0 SIZE SIZE\n");
  const std::string csv = kd::to_csv(table);
  EXPECT_NE(csv.find(",own_bytes,stage_bytes,folder\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find(',' + std::to_string(kd::disk_bytes(run.stages[0])) + ",\"" + run.folder.string() + "\"\n"),
            std::string::npos)
      << csv;
}

TEST(RunList, TimesMayBeOfAnyZone) {
  const RunsFolder folder;
  folder.run("a/x", {}, {{"started", "2026-11-26T09:38:33+0100"}, {"updated", "2026-11-26T08:38:34+0000"}});
  EXPECT_DOUBLE_EQ(kd::list_runs(folder.runs).runs[0].seconds, 1);
}

TEST(RunList, ARunIsRunningWhileItsProcessHoldsItOpen) {
  const RunsFolder folder;
  const fs::path run = folder.run("a/x", {}, {{"status", "running"}, {"process", ::getpid()}});
  const auto status = [&] { return kd::list_runs(folder.runs).runs[0].status; };
  EXPECT_EQ(status(), "interrupted") << "this process is another one, under the number of the one that ended";
  {
    const std::ofstream log(run / "log.txt");
    EXPECT_EQ(status(), "running");
  }
  EXPECT_EQ(status(), "interrupted");
  folder.run("a/x", {}, {{"status", "running"}, {"process", 999999999}});
  EXPECT_EQ(status(), "interrupted");
  folder.run("a/x", {}, {{"status", "running"}, {"host", {{"name", "another"}}}});
  EXPECT_EQ(status(), "elsewhere");
}

TEST(RunList, NamesWhatIsNoRun) {
  const RunsFolder folder;
  folder.run("a/good", {});
  folder.write("runs/a/foreign/notes.txt", "");
  folder.write("runs/a/cut/run.json", "{\"status\": \"ok\", ");
  folder.write("runs/a/list/run.json", "[]");
  folder.run("a/odd", {}, {{"status", "dancing"}});
  folder.run("a/timeless", {}, {{"started", "yesterday"}});
  folder.run("a/wrong", {}, {{"process", "x"}});
  folder.write("runs/notes.txt", "a file of the user");
  folder.write("runs/a.sweep/0123abcd/points.json", "");
  fs::create_directory(folder.runs / "empty");
  fs::create_directory_symlink(folder.path, folder.runs / "link");
  fs::create_directory_symlink("good", folder.runs / "a" / "again");
  folder.run("single", {});
  std::string problems;
  for (const kd::ListedRun& run : kd::list_runs(folder.runs).runs)
    problems += run.folder.lexically_relative(folder.runs).string() + ": " + run.problem + "\n";
  EXPECT_EQ(problems,
            "a/again: it is a link, and links are not followed\n"
            "a/cut: its run.json is damaged\n"
            "a/foreign: it holds no run.json\n"
            "a/good: \n"
            "a/list: its run.json is damaged\n"
            "a/odd: its run.json is damaged\n"
            "a/timeless: its run.json is damaged\n"
            "a/wrong: its run.json is damaged\n"
            "link: it is a link, and links are not followed\n"
            "single: \n");
  EXPECT_EQ(error_of([&] { kd::list_runs(folder.path / "none"); }),
            "error: there is no folder " + (folder.path / "none").string() + "\n    hint: --run-dir says where");
}

TEST(RunList, ChoosesAndOrders) {
  const RunsFolder folder;
  folder.run("a/2", {}, {{"started", "2026-11-26T09:00:00+0000"}});
  folder.run("a/1", {}, {{"status", "failed"}, {"started", "2026-11-25T09:00:00+0000"}});
  folder.run("b/3", {}, {{"status", "stopped"}, {"started", "2026-11-24T09:00:00+0000"}});
  folder.write("runs/a/2/tb/events", std::string(100000, 'x'));
  const kd::RunList list = kd::list_runs(folder.runs);
  const auto names = [&](const Names& statuses, const std::string& recipe, const std::string& order) {
    std::string text;
    for (const kd::ListedRun& run : kd::select_runs(list, statuses, recipe, order))
      text += run.folder.filename().string();
    return text;
  };
  EXPECT_EQ(names({}, "", "when"), "312");
  EXPECT_EQ(names({}, "", "run"), "123");
  EXPECT_EQ(names({}, "", "status"), "123");
  EXPECT_EQ(names({}, "", "recipe"), "123");
  EXPECT_EQ(names({}, "", "seconds"), "213");
  EXPECT_EQ(names({}, "", "size").back(), '2');
  EXPECT_EQ(names({"failed", "stopped"}, "", "when"), "31");
  EXPECT_EQ(names({}, "a", "when"), "12");
  EXPECT_EQ(error_of([&] { names({}, "c", "when"); }),
            "error: no run below " + folder.runs.string() + " is of a recipe 'c'\n    hint: did you mean 'a'?");
}

TEST(RunList, SizesAreThoseOfTheDisk) {
  EXPECT_EQ(kd::size_text(0), "0.0 kB");
  EXPECT_EQ(kd::size_text(4096), "4.1 kB");
  EXPECT_EQ(kd::size_text(999'960), "1.0 MB");
  EXPECT_EQ(kd::size_text(34'500'000'000), "34.5 GB");
  const TemporaryFolder folder;
  folder.write("f/big", std::string(1 << 20, 'x'));
  fs::create_symlink(folder.path / "f" / "big", folder.path / "f" / "link");
  const std::int64_t bytes = kd::disk_bytes(folder.path / "f");
  EXPECT_GE(bytes, 1 << 20);
  EXPECT_LT(bytes, (1 << 20) + 20000) << "a link counts as itself";
  EXPECT_EQ(kd::disk_bytes(folder.path / "none"), 0);
}

TEST(RunList, KnowsTheNamesOfStageFolders) {
  EXPECT_EQ(kd::stage_name("x/.stages/teacher_1-0123456789abcdef"), "teacher_1");
  EXPECT_EQ(kd::stage_name("a-b-0123456789abcdef.fresh"), "a-b");
  EXPECT_EQ(kd::stage_name("a-0123456789abcdef.replaced"), "a");
  for (const char* other : {"notes", "a-0123456789abcde", "a-0123456789abcdeg", "a-0123456789abcdef.bak"})
    EXPECT_EQ(kd::stage_name(other), "") << other;
}

TEST(RemoveRuns, TakesTheStagesThatNothingElseNeeds) {
  const RunsFolder folder;
  folder.stage(kTeacher);
  folder.stage(kStudent);
  folder.run("a/x", {kTeacher, kStudent});
  folder.run("b/y", {kTeacher});
  const kd::Removal removal =
      kd::plan_removal(kd::list_runs(folder.runs), {"a/x", "x", (folder.runs / "a/x/").string()});
  EXPECT_EQ(plan_text(folder, removal),
            "would remove runs/a/x (ok, SIZE)\n"
            "would remove runs/.stages/" +
                kStudent +
                " (SIZE): no other run links to it\n"
                "would keep runs/.stages/" +
                kTeacher +
                ": runs/b/y links to it\n"
                "together SIZE; --yes removes it\n");
  EXPECT_TRUE(fs::exists(folder.runs / "a/x/run.json")) << "so far nothing was to go";
  EXPECT_EQ(removed_text(folder, removal), "removed runs/a/x\nkept runs/.stages/" + kTeacher +
                                               ": runs/b/y links to it\nremoved runs/.stages/" + kStudent + "\n");
  EXPECT_FALSE(fs::exists(folder.runs / "a/x"));
  EXPECT_FALSE(fs::exists(folder.runs / ".stages" / kStudent));
  EXPECT_TRUE(fs::exists(folder.runs / ".stages" / kTeacher / "result.json"));
  EXPECT_TRUE(fs::exists(folder.runs / "b/y/stages/teacher/result.json"));
  const kd::Removal both = kd::plan_removal(kd::list_runs(folder.runs), {"y"});
  EXPECT_EQ(both.stages, std::vector<fs::path>{folder.runs / ".stages" / kTeacher});
}

TEST(RemoveRuns, TwoThatShareAStageTakeItWithThem) {
  const RunsFolder folder;
  folder.stage(kTeacher);
  folder.run("a/x", {kTeacher});
  folder.run("b/y", {kTeacher});
  removed_text(folder, kd::plan_removal(kd::list_runs(folder.runs), {"x", "y"}));
  EXPECT_FALSE(fs::exists(folder.runs / ".stages" / kTeacher));
}

TEST(RemoveRuns, KeepsStagesThatRecipesNameAndSaysWhoWillMissTheRun) {
  const RunsFolder folder;
  folder.stage(kTeacher);
  folder.stage(kStudent);
  folder.run("a/x", {kTeacher, kStudent});
  folder.run("b/y", {});
  folder.write("runs/b/y/resolved.toml",
               "[[stage]]\nname = \"s\"\nteachers = [{ run = \"../runs/a/x/\", stage = \"teacher\" }]\n");
  EXPECT_EQ(plan_text(folder, kd::plan_removal(kd::list_runs(folder.runs), {"x"})),
            "would remove runs/a/x (ok, SIZE)\n"
            "would remove runs/.stages/" +
                kStudent +
                " (SIZE): no other run links to it\n"
                "would keep runs/.stages/" +
                kTeacher +
                ": the recipe of runs/b/y names it\n"
                "warning: the recipe of runs/b/y names runs/a/x, which it would not find when it is run again\n"
                "together SIZE; --yes removes it\n");
  // An analysis names runs and no stage of each: both are kept.
  folder.write("runs/b/y/resolved.toml", "analysis = [{ type = \"ensemble\", runs = [\"\", \"runs/a/x\"] }]\n");
  EXPECT_EQ(kd::plan_removal(kd::list_runs(folder.runs), {"x"}).stages.size(), 0U);
}

TEST(RemoveRuns, RecipesNameRunsByTheirLastTwoFolders) {
  const TemporaryFolder folder;
  const auto count = [&](const std::string& run) {
    const std::string file = folder.write("r.toml", "x = { run = \"" + run + "\", stage = \"s\" }");
    return kd::references_to("runs/a/x", file).size();
  };
  for (const char* same : {"runs/a/x", "/elsewhere/a/x", "a/x", "x", "./a/x/"}) EXPECT_EQ(count(same), 1U) << same;
  for (const char* other : {"", "runs/b/x", "runs/a/y", "runs/a/x/stages/s", "a"}) EXPECT_EQ(count(other), 0U) << other;
  EXPECT_TRUE(kd::has_stage(folder.write("no.toml", "= ="), "s")) << "it may have";
  EXPECT_FALSE(kd::has_stage(folder.write("t.toml", "[[stage]]\nname = \"t\""), "s"));
}

TEST(RemoveRuns, FollowsNoLinkOutOfTheFolder) {
  const RunsFolder folder;
  folder.stage(kTeacher);
  const fs::path run = folder.run("a/x", {kTeacher});
  folder.write("precious/model", "of the user");
  folder.write("precious/" + kStudent + "/model", "of the user");
  fs::create_directory_symlink(folder.path / "precious", run / "data");
  fs::create_directory_symlink(folder.path / "precious" / kStudent, run / "stages" / "student");
  fs::create_directory_symlink(folder.path / "precious" / kStudent, folder.runs / ".stages" / kStudent);
  fs::create_directory_symlink(fs::path("../../../.stages") / kStudent, run / "stages" / "linked");
  const std::string text = plan_text(folder, kd::plan_removal(kd::list_runs(folder.runs), {"x"}));
  EXPECT_NE(text.find("would keep runs/a/x/stages/student → "), std::string::npos) << text;
  EXPECT_NE(text.find("would keep runs/a/x/stages/linked → "), std::string::npos) << text;
  removed_text(folder, kd::plan_removal(kd::list_runs(folder.runs), {"x"}));
  EXPECT_FALSE(fs::exists(run));
  EXPECT_FALSE(fs::exists(folder.runs / ".stages" / kTeacher));
  EXPECT_TRUE(fs::exists(folder.path / "precious/model"));
  EXPECT_TRUE(fs::exists(folder.path / "precious" / kStudent / "model"));
  EXPECT_TRUE(kd::plan_unused_stages(kd::list_runs(folder.runs)).stages.empty()) << "a link in .stages is no stage";
}

TEST(RemoveRuns, StagesOnAnotherDiskAreNotTouched) {
  const RunsFolder folder;
  folder.stage(kTeacher);
  fs::rename(folder.runs / ".stages", folder.path / "other_disk");
  fs::create_directory_symlink(folder.path / "other_disk", folder.runs / ".stages");
  folder.run("a/x", {kTeacher});
  EXPECT_TRUE(fs::exists(folder.runs / "a/x/stages/teacher/result.json"));
  removed_text(folder, kd::plan_removal(kd::list_runs(folder.runs), {"x"}));
  EXPECT_FALSE(fs::exists(folder.runs / "a/x"));
  EXPECT_TRUE(fs::exists(folder.path / "other_disk" / kTeacher / "result.json"));
}

TEST(RemoveRuns, RefusesRunsThatGoOn) {
  const RunsFolder folder;
  const fs::path run = folder.run("a/x", {}, {{"status", "running"}, {"process", ::getpid()}});
  folder.run("a/far", {}, {{"status", "running"}, {"host", {{"name", "another"}}}});
  folder.run("a/ended", {});
  const auto plan = [&](const Names& names) { return kd::plan_removal(kd::list_runs(folder.runs), names); };
  const kd::Removal early = plan({"ended", "x"});
  const std::ofstream log(run / "log.txt");
  const std::string refusal =
      fmt::format("error: {} is running, as process {}\n    hint: stop it first", run.string(), ::getpid());
  EXPECT_EQ(error_of([&] { plan({"ended", "x"}); }), refusal);
  EXPECT_EQ(error_of([&] { kd::remove(early, [](const std::string&) {}); }), refusal)
      << "it began after the plan was made";
  EXPECT_TRUE(fs::exists(run / "run.json"));
  EXPECT_EQ(error_of([&] { plan({"far"}); }), "error: " + (folder.runs / "a/far").string() +
                                                  " says that it is running, on another machine\n"
                                                  "    hint: remove it there, or by hand");
}

TEST(RemoveRuns, KeepsAStageUnderALock) {
  const RunsFolder folder;
  const fs::path stage = folder.stage(kTeacher, false);
  const kd::Removal removal = kd::plan_unused_stages(kd::list_runs(folder.runs));
  EXPECT_EQ(plan_text(folder, removal),
            "would remove runs/.stages/" + kTeacher +
                " (SIZE): unfinished: the run that was stopped would go on from it\ntogether SIZE; --yes removes it\n");
  {
    const kd::FileLock lock(stage.string() + ".lock", [](const auto&) {});
    EXPECT_EQ(removed_text(folder, removal), "kept runs/.stages/" + kTeacher + ": another process trains it\n");
    EXPECT_TRUE(fs::exists(stage));
  }
  EXPECT_EQ(removed_text(folder, removal), "removed runs/.stages/" + kTeacher + "\n");
  EXPECT_FALSE(fs::exists(stage));
  EXPECT_TRUE(fs::exists(stage.string() + ".lock")) << "another process may wait for it";
  EXPECT_EQ(removed_text(folder, removal), "kept runs/.stages/" + kTeacher + ": it is gone\n");
}

TEST(RemoveRuns, KeepsAStageThatARunMayBeAboutToLinkTo) {
  const RunsFolder folder;
  folder.stage(kStudent);
  folder.stage(kTeacher);
  const kd::Removal early = kd::plan_unused_stages(kd::list_runs(folder.runs));
  EXPECT_EQ(early.stages.size(), 2U);
  // Finished, its lock given back, and not linked to yet: what a run looks like between two of its lines.
  const fs::path run = folder.run("a/x", {}, {{"status", "running"}, {"process", ::getpid()}});
  const std::ofstream log(run / "log.txt");
  EXPECT_EQ(plan_text(folder, kd::plan_unused_stages(kd::list_runs(folder.runs))),
            "would remove runs/.stages/" + kTeacher + " (SIZE): finished\nwould keep runs/.stages/" + kStudent +
                ": runs/a/x is running and has a stage of this name\ntogether SIZE; --yes removes it\n");
  EXPECT_EQ(removed_text(folder, early), "kept runs/.stages/" + kStudent +
                                             ": runs/a/x is running and has a stage of this name\n"
                                             "removed runs/.stages/" +
                                             kTeacher + "\n")
      << "it began after the plan was made";
}

TEST(RemoveRuns, KeepsAStageThatWasLinkedToSinceThePlan) {
  const RunsFolder folder;
  folder.stage(kTeacher);
  const kd::Removal early = kd::plan_unused_stages(kd::list_runs(folder.runs));
  folder.run("a/x", {kTeacher});
  EXPECT_EQ(removed_text(folder, early), "kept runs/.stages/" + kTeacher + ": runs/a/x links to it\n");
}

TEST(RemoveRuns, UnusedStagesAreThoseOfNoFolderWhatever) {
  const RunsFolder folder;
  for (const std::string& name : {kTeacher, kStudent, kTeacher + ".fresh", kTeacher + ".replaced", std::string("mine")})
    folder.stage(name, !name.ends_with(".fresh"));
  folder.run("a/x", {kTeacher});
  folder.write("runs/a/x/run.json", "damaged");
  EXPECT_EQ(plan_text(folder, kd::plan_unused_stages(kd::list_runs(folder.runs))),
            "would remove runs/.stages/" + kStudent +
                " (SIZE): finished\n"
                "would remove runs/.stages/" +
                kTeacher +
                ".fresh (SIZE): unfinished: the run that was stopped would go on from it\n"
                "would remove runs/.stages/" +
                kTeacher +
                ".replaced (SIZE): left by a process that was killed\n"
                "would keep runs/.stages/mine: its name is no stage's\n"
                "together SIZE; --yes removes it\n");
  EXPECT_EQ(plan_text(folder, kd::plan_unused_stages({.folder = folder.runs, .runs = {}, .stages = {}})),
            "there is nothing to remove\n");
}

TEST(RemoveRuns, RefusesWhatIsNoRun) {
  const RunsFolder folder;
  folder.run("a/20260101-000000-aaaaaaaa", {});
  folder.run("b/twin", {});
  folder.run("c/twin", {});
  folder.write("runs/a/broken/run.json", "");
  folder.write("elsewhere/run.json", "{}");
  fs::create_directory_symlink(folder.runs / "b" / "twin", folder.path / "link");
  const auto refusal = [&](const std::string& name) {
    return error_of([&] { kd::plan_removal(kd::list_runs(folder.runs), {name}); });
  };
  const std::string runs = folder.runs.string(), path = folder.path.string();
  EXPECT_EQ(refusal("a/20260101-000000-aaaaaaab"), "error: there is no run 'a/20260101-000000-aaaaaaab' below " + runs +
                                                       "\n    hint: did you mean 'a/20260101-000000-aaaaaaaa'?");
  EXPECT_EQ(refusal("nothing/like/it"),
            "error: there is no run 'nothing/like/it' below " + runs + "\n    hint: kdrun runs lists them");
  EXPECT_EQ(refusal("twin"), "error: there are several runs 'twin'\n    hint: say RECIPE/RUN");
  EXPECT_EQ(refusal(path + "/elsewhere"),
            "error: " + path + "/elsewhere is no run below " + runs +
                "\n    hint: a run is runs/RECIPE/TIME-DIGEST; --run-dir says where the runs are");
  EXPECT_EQ(refusal(path + "/link"),
            "error: " + path + "/link is a link, and none is followed\n    hint: name the folder that it leads to");
  EXPECT_EQ(refusal(path + "/link/"), "error: " + path +
                                          "/link/ is a link, and none is followed\n    hint: name the "
                                          "folder that it leads to");
  EXPECT_EQ(refusal("broken"), "error: " + runs +
                                   "/a/broken is not removed: its run.json is damaged\n    hint: look at "
                                   "it, and remove it by hand");
  EXPECT_EQ(refusal(runs), "error: " + runs + " is no run below " + runs +
                               "\n    hint: a run is runs/RECIPE/TIME-DIGEST; --run-dir says where the runs are");
}

TEST(RemoveRuns, KeepsEveryStageWhereAFolderCannotBeRead) {
  const RunsFolder folder;
  folder.stage(kTeacher);
  const fs::path run = folder.run("a/x", {kTeacher});
  fs::remove(run / "stages" / "teacher");
  fs::create_symlink("teacher", run / "stages" / "teacher");  // leads to itself
  const std::string refusal = error_of([&] { kd::plan_unused_stages(kd::list_runs(folder.runs)); });
  EXPECT_EQ(refusal, "error: " + run.string() +
                         ": it cannot be read: Too many levels of symbolic links\n    hint: it "
                         "may link to stages, so none can be removed");
}

TEST(RemoveRuns, ARemovalThatWasCutOffCanBeTakenUp) {
  const RunsFolder folder;
  const fs::path run = folder.run("a/x", {});
  fs::remove(run / "resolved.toml");
  fs::remove_all(run / "stages");
  EXPECT_EQ(removed_text(folder, kd::plan_removal(kd::list_runs(folder.runs), {"x"})), "removed runs/a/x\n");
  EXPECT_FALSE(fs::exists(run));
}

}  // namespace
