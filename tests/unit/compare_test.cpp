// Tests of runs side by side.
#include "report/compare.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kd/diagnostics.h"
#include "report/table_views.h"
#include "temporary_folder.h"

namespace {

using enum kd::ColumnType;

std::string json_of(const std::string& name, const std::vector<kd::Column>& columns, const std::vector<kd::Row>& rows) {
  return kd::to_json(kd::Table{.name = name, .caption = "", .columns = columns, .rows = rows});
}

/// A run folder as far as a comparison reads it.
std::filesystem::path write_run(const TemporaryFolder& folder, const std::string& name, int seed,
                                const std::string& temperature, const std::vector<kd::Row>& rows,
                                const std::string& more = "") {
  folder.write(name + "/resolved.toml", "seed = " + std::to_string(seed) +
                                            "\ndevice = \"auto\"\n[[stage]]\nname = \"student\"\nscheme = { type = "
                                            "\"vanilla_kd\", temperature = " +
                                            temperature + " }\n" + more);
  folder.write(name + "/summary.json",
               json_of("summary", {{"stage", kText}, {"network", kText}, {"top1", kShare}, {"nll", kNumber}}, rows));
  folder.write(name + "/run.json", R"({"status": "ok", "whole": true, "max_steps": 0, "recipe": "recipes/r.toml"})");
  return folder.path / name;
}

kd::Row row(const std::string& stage, double top1, double nll = 1) { return {stage, "model", top1, nll}; }

kd::Comparison compared(const std::vector<std::filesystem::path>& runs, const kd::CompareOptions& options = {},
                        const std::vector<std::string>& filters = {}) {
  return kd::compare(kd::read_runs(runs, filters), options);
}

std::string console(const kd::Comparison& comparison) { return kd::to_console(kd::readable(comparison)); }

std::string refusal(const std::vector<std::filesystem::path>& runs, const kd::CompareOptions& options,
                    const std::vector<std::string>& filters = {}) {
  try {
    compared(runs, options, filters);
  } catch (const kd::Error& error) {
    return error.what();
  }
  return "";
}

/// Two temperatures over three seeds; the students gain 2 and 4 points on one that is alone.
struct Grid {
  TemporaryFolder folder;
  std::vector<std::filesystem::path> runs;

  Grid() {
    const double alone[] = {0.70, 0.71, 0.72}, noise[] = {0, 0.001, -0.001};
    for (int seed = 0; seed < 3; ++seed) {
      for (const auto& [temperature, gain] : {std::pair("4", 0.02), std::pair("10", 0.04)}) {
        runs.push_back(
            write_run(folder, std::string("t") + temperature + "_" + std::to_string(seed), seed, temperature,
                      {row("student_alone", alone[seed]), row("student", alone[seed] + gain + noise[seed])}));
      }
    }
  }
};

TEST(Compare, GivesMeanDeviationAndIntervalOverSeeds) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", {row("teacher", 0.5), row("student", 0.25)});
  const auto b = write_run(folder, "b", 1, "4", {row("teacher", 0.75), row("student", 0.5)});
  const auto c = write_run(folder, "c", 2, "4", {row("teacher", 1.0)});
  const auto result = compared({a, b, c}, {.metrics = {"top1"}});
  ASSERT_EQ(result.rows.size(), 2U);
  EXPECT_EQ(result.rows[0].runs, 3U);
  EXPECT_DOUBLE_EQ(result.rows[0].numbers[0].spread.mean, 0.75);
  EXPECT_DOUBLE_EQ(result.rows[0].numbers[0].spread.deviation, 0.25);
  EXPECT_EQ(result.rows[1].runs, 2U);
  EXPECT_EQ(console(result),
            "stage    runs         top1 %      95 % interval\n"
            "teacher     3  75.00 ± 25.00    [12.90, 137.10]\n"
            "student     2  37.50 ± 17.68  [-121.33, 196.33]\n");
}

TEST(Compare, APivotHasAColumnForEverySettingThatDiffers) {
  const Grid grid;
  const auto result = compared(grid.runs, {.metrics = {"top1"}, .stage = "student"});
  EXPECT_EQ(kd::to_markdown(kd::readable(result)),
            "| temperature | runs | top1 % | 95 % interval |\n|---|---:|---:|---:|\n"
            "| 4 | 3 | 73.00 ± 0.95 | [70.63, 75.37] |\n| 10 | 3 | 75.00 ± 0.95 | [72.63, 77.37] |\n");
}

TEST(Compare, AStageIsABaselineSeedBySeed) {
  const Grid grid;
  const auto result = compared(grid.runs, {.metrics = {"top1"}, .baseline = "student_alone"});
  ASSERT_EQ(result.rows.size(), 4U);
  EXPECT_TRUE(result.rows[0].is_baseline);
  const auto& difference = result.rows[1].numbers[0].difference;
  ASSERT_TRUE(difference);
  EXPECT_EQ(difference->count, 3U);
  EXPECT_NEAR(difference->mean, 0.02, 1e-12);
  EXPECT_NEAR(difference->deviation, 0.001, 1e-12);  // far less than that of the students themselves
  const std::string text = kd::to_markdown(kd::readable(result));
  EXPECT_NE(text.find("| 4 | student_alone | 3 | 71.00 ± 1.00 | [68.52, 73.48] | baseline | – |"), std::string::npos)
      << text;
  EXPECT_NE(text.find("| 4 | student | 3 | 73.00 ± 0.95 | [70.63, 75.37] | +2.00 [1.75, 2.25] | 2 |"),
            std::string::npos)
      << text;
}

TEST(Compare, SettingsOfOtherRunsAreABaselineSeedBySeed) {
  const Grid grid;
  const auto result = compared(grid.runs, {.metrics = {"top1"}, .stage = "student", .baseline = "temperature=4"});
  ASSERT_EQ(result.rows.size(), 2U);
  EXPECT_TRUE(result.rows[0].is_baseline);
  EXPECT_NEAR(result.rows[1].numbers[0].difference->mean, 0.02, 1e-12);
  EXPECT_NEAR(result.rows[1].numbers[0].difference->deviation, 0, 1e-12);
}

TEST(Compare, ProgramsGetEveryStatisticInAColumnOfItsOwn) {
  const Grid grid;
  const auto result = compared(grid.runs, {.metrics = {"top1"}, .stage = "student", .baseline = "student_alone"});
  const std::string csv = kd::to_csv(kd::complete(result));
  EXPECT_TRUE(
      csv.starts_with("stage.student.scheme.temperature,runs,top1,top1_deviation,top1_low,top1_high,"
                      "top1_difference,top1_difference_deviation,top1_difference_low,top1_difference_high,"
                      "top1_pairs,top1_pairs_needed\n\"4\",3,0.73,"))
      << csv;
}

TEST(Compare, TakesAnyTableOfTheRuns) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", {row("s", 0.1)});
  const auto b = write_run(folder, "b", 1, "4", {row("s", 0.2)});
  const std::vector<kd::Column> columns = {{"class", kText}, {"accuracy", kShare}};
  // Text is a name, whatever it looks like.
  folder.write("a/analysis/classes.json", json_of("classes", columns, {{"3", 0.5}, {"4", 0.7}}));
  folder.write("b/analysis/classes.json", json_of("classes", columns, {{"3", 0.6}, {"4", 0.9}}));
  folder.write("a/analysis/drawn.figure.json", "{}");
  const auto result = compared({a, b}, {.table = "classes"});
  ASSERT_EQ(result.rows.size(), 2U);
  EXPECT_EQ(result.rows[1].names, std::vector<kd::Cell>{"4"});
  EXPECT_DOUBLE_EQ(result.rows[1].numbers[0].spread.mean, 0.8);
  EXPECT_EQ(kd::table_names(a), (std::vector<std::string>{"summary", "classes"}));
  EXPECT_NE(kd::to_latex(kd::readable(result)).find("4 & 2 & 80.00 $\\pm$ 14.14"), std::string::npos)
      << kd::to_latex(kd::readable(result));
}

TEST(Compare, KeepsRowsOfOneNameApartByTheirOrder) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", {row("s", 0.1), row("s", 0.3)});
  const auto b = write_run(folder, "b", 1, "4", {row("s", 0.2), row("s", 0.5)});
  const auto result = compared({a, b}, {.metrics = {"top1"}});
  ASSERT_EQ(result.rows.size(), 2U);
  EXPECT_DOUBLE_EQ(result.rows[0].numbers[0].spread.mean, 0.15);
  EXPECT_DOUBLE_EQ(result.rows[1].numbers[0].spread.mean, 0.4);
}

TEST(Compare, SortsNumbersBySize) {
  const Grid grid;
  const auto values = [&](const std::string& sort) {
    std::string text;
    for (const auto& one : compared(grid.runs, {.metrics = {"top1"}, .stage = "student", .sort = sort}).rows)
      text += one.names[0].text() + " ";
    return text;
  };
  EXPECT_EQ(values("temperature"), "4 10 ");  // and not as texts
  EXPECT_EQ(values("-temperature"), "10 4 ");
  EXPECT_EQ(values("-top1"), "10 4 ");
}

TEST(Compare, FiltersAndChoosesColumns) {
  const Grid grid;
  EXPECT_EQ(compared(grid.runs, {}, {"temperature=10"}).rows.size(), 2U);
  EXPECT_EQ(compared(grid.runs, {}, {"temperature=10", "seed=2"}).rows[0].runs, 1U);
  // The settings that differ are meant, where there are such, and numbers are compared as numbers.
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4.0", {row("s", 0.1)}, "[[stage]]\nname = \"x\"\ntemperature = 8\n");
  const auto b = write_run(folder, "b", 0, "8.0", {row("s", 0.2)}, "[[stage]]\nname = \"x\"\ntemperature = 8\n");
  EXPECT_DOUBLE_EQ(compared({a, b}, {}, {"temperature=8"}).rows[0].numbers[0].spread.mean, 0.2);
  const auto chosen = compared(grid.runs, {.metrics = {"nll"}, .columns = {"stage"}});
  ASSERT_EQ(chosen.name_columns.size(), 1U);
  EXPECT_EQ(chosen.name_columns[0].name, "stage");
}

TEST(Compare, TellsManyDifferencesBelowTheTable) {
  const TemporaryFolder folder;
  std::string more = "[train]\n";
  for (int i = 0; i < 12; ++i) more += "key" + std::to_string(i) + " = 1\n";
  const auto a = write_run(folder, "a", 0, "4", {row("s", 0.1)});
  const auto b = write_run(folder, "b", 0, "4", {row("s", 0.2)}, more);
  const auto result = compared({a, b});
  EXPECT_EQ(result.name_columns[0].name, "group");
  ASSERT_GE(result.notes.size(), 2U);
  EXPECT_NE(result.notes[1].find("group 2: train.key0 = 1, "), std::string::npos) << result.notes[1];
  EXPECT_NE(result.notes[1].find(" and 4 more"), std::string::npos) << result.notes[1];
}

TEST(Compare, SaysThatOneSeedIsOne) {
  const TemporaryFolder folder;
  const auto result = compared({write_run(folder, "a", 0, "4", {row("s", 0.1)})}, {.metrics = {"top1"}});
  EXPECT_EQ(result.notes, std::vector<std::string>{"one seed: nothing can be said of the spread"});
  EXPECT_EQ(console(result), "stage  runs  top1 %  95 % interval\ns         1   10.00              –\n");
}

TEST(Compare, SaysWhatThereIsNot) {
  const Grid grid;
  EXPECT_EQ(refusal(grid.runs, {.table = "sumary"}),
            "error: no run has a table 'sumary'\n    hint: did you mean 'summary'?");
  EXPECT_EQ(refusal(grid.runs, {.metrics = {"top2"}}),
            "error: the table 'summary' has no number 'top2'\n    hint: did you mean 'top1'?");
  EXPECT_EQ(refusal(grid.runs, {.columns = {"temprature"}}),
            "error: --columns: there is no column 'temprature'\n    hint: did you mean 'temperature'?");
  EXPECT_EQ(refusal(grid.runs, {.stage = "studnet"}),
            "error: --stage: no run has a stage 'studnet'\n    hint: did you mean 'student'?");
  EXPECT_EQ(refusal(grid.runs, {.baseline = "alone"}),
            "error: --baseline: no run has a stage 'alone'\n    hint: stages: student, student/model, student_alone, "
            "student_alone/model");
  EXPECT_EQ(refusal(grid.runs, {.baseline = "temperature=5"}),
            "error: --baseline: no run has temperature = 5\n    hint: values: 10, 4");
  EXPECT_EQ(refusal(grid.runs, {.baseline = "lr=5"}),
            "error: --baseline: 0 settings that differ between the runs end in 'lr'\n    hint: settings that differ: "
            "temperature");
  EXPECT_EQ(refusal(grid.runs, {.sort = "top3"}),
            "error: --sort: there is no column 'top3'\n    hint: did you mean 'top1'?");
  EXPECT_EQ(refusal(grid.runs, {}, {"tempreature=4"}),
            "error: --filter: no run has a setting 'tempreature'\n    hint: did you mean "
            "'temperature'?");
  EXPECT_EQ(refusal(grid.runs, {}, {"temperature=5"}), "there is no run to look at: none passes the filter");
  EXPECT_EQ(refusal(grid.runs, {}, {"temperature"}),
            "error: --filter 'temperature': key=value is wanted\n    hint: for example temperature=4");
}

TEST(Compare, ATableThatIsDamagedInOneRunIsTold) {
  const Grid grid;
  const std::vector<kd::Column> columns = {{"stage", kText}, {"ece", kNumber}};
  grid.folder.write("t4_0/analysis/calibration.json", "[]");
  grid.folder.write("t4_1/analysis/calibration.json", json_of("calibration", columns, {{"student", 0.5}}));
  const auto result = compared({grid.runs[0], grid.runs[2]}, {.table = "calibration"});
  ASSERT_EQ(result.rows.size(), 1U);
  EXPECT_EQ(result.rows[0].runs, 1U);
  EXPECT_NE(result.notes[0].find("t4_0 has no intact table 'calibration'"), std::string::npos) << result.notes[0];
}

TEST(RunSet, LeavesOutByNameWhatMustNotBeAveraged) {
  const TemporaryFolder folder;
  const auto whole = write_run(folder, "whole", 0, "4", {row("s", 0.8)});
  const auto second = write_run(folder, "second", 1, "4", {row("s", 0.9)});
  const auto again = write_run(folder, "again", 1, "4", {row("s", 0.9)});
  const auto cut = write_run(folder, "cut", 2, "4", {row("s", 0.1)});
  folder.write("cut/run.json", R"({"status": "ok", "whole": false, "max_steps": 3})");
  const auto stopped = write_run(folder, "stopped", 3, "4", {row("s", 0.2)});
  folder.write("stopped/run.json", R"({"status": "stopped", "whole": true})");
  const kd::RunSet set =
      kd::read_runs({whole, cut, folder.path / "none", second, stopped, again, folder.path / "." / "whole"});
  ASSERT_EQ(set.groups.size(), 1U);
  EXPECT_EQ(set.groups[0].runs.size(), 2U);
  EXPECT_DOUBLE_EQ(kd::compare(set, {}).rows[0].numbers[0].spread.mean, 0.85);
  std::vector<std::string> reasons;
  for (const kd::LeftOutRun& run : set.left_out) reasons.push_back(run.folder.filename().string() + ": " + run.reason);
  EXPECT_EQ(reasons,
            (std::vector<std::string>{"cut: each of its stages was ended after 3 steps (--max-steps)",
                                      "none: there is no such folder", "stopped: its status is 'stopped'",
                                      "whole: it was named before", "again: it repeats seed 1 of " + second.string()}));
}

TEST(RunSet, LeavesOutWhatIsDamaged) {
  const Grid grid;
  grid.folder.write("t4_0/summary.json", "{ cut");
  grid.folder.write("t4_1/resolved.toml", "= 3");
  grid.folder.write("t4_2/run.json", R"({"status": 3})");
  const kd::RunSet set = kd::read_runs(grid.runs);
  ASSERT_EQ(set.groups.size(), 1U);
  ASSERT_EQ(set.left_out.size(), 3U);
  EXPECT_NE(set.left_out[0].reason.find("holds no table"), std::string::npos) << set.left_out[0].reason;
  EXPECT_NE(set.left_out[1].reason.find("resolved.toml"), std::string::npos) << set.left_out[1].reason;
  EXPECT_EQ(set.left_out[2].reason, "its status is ''");
}

TEST(RunSet, TakesTheFinishedPointsOfASweep) {
  const Grid grid;
  grid.folder.write("sweep/sweep.json", R"({"points": [{"status": "done", "run": ")" + grid.runs[0].string() +
                                            R"("}, {"status": "failed", "run": ")" + grid.runs[1].string() +
                                            R"("}, {"status": "done", "run": ")" + grid.runs[2].string() + R"("}]})");
  const kd::RunSet set = kd::read_runs({grid.folder.path / "sweep"});
  ASSERT_EQ(set.groups.size(), 1U);
  EXPECT_EQ(set.groups[0].runs.size(), 2U);
  ASSERT_EQ(set.left_out.size(), 1U);
  EXPECT_EQ(set.left_out[0].folder.filename(), "point 1");
  EXPECT_EQ(set.left_out[0].reason, "it is failed");
}

TEST(RunSet, RefusesWhereThereIsNoFinishedRun) {
  const TemporaryFolder folder;
  try {
    kd::read_runs({folder.path});
    FAIL();
  } catch (const kd::FileError& error) {
    EXPECT_NE(std::string(error.what()).find("it is no run folder"), std::string::npos) << error.what();
  }
}

TEST(Runs, AnalysesMakeNoGroups) {
  const TemporaryFolder folder;
  const kd::RunSet set =
      kd::read_runs({write_run(folder, "a", 0, "4", {row("student", 0.7)}),
                     write_run(folder, "b", 1, "4", {row("student", 0.7)}, "[[analysis]]\ntype = \"flatness\"\n")},
                    {});
  EXPECT_EQ(set.groups.size(), 1U);
}

TEST(Runs, GroupsOfSeveralRecipesSayTheRecipeAndWhatDiffersWithinIt) {
  const TemporaryFolder folder;
  std::vector<std::filesystem::path> runs = {write_run(folder, "a", 0, "1", {row("student", 0.7)}),
                                             write_run(folder, "b", 0, "4", {row("student", 0.7)}),
                                             write_run(folder, "c", 0, "9", {row("student", 0.7)}, "extra = true\n")};
  folder.write("c/run.json", R"({"status": "ok", "whole": true, "max_steps": 0, "recipe": "recipes/other.toml"})");
  const kd::RunSet set = kd::read_runs(runs, {});
  ASSERT_EQ(set.groups.size(), 3U);
  EXPECT_EQ(set.varied, (std::vector<std::string>{"recipe", set.varied.back()}));
  EXPECT_NE(set.varied.back().find("temperature"), std::string::npos) << set.varied.back();
  EXPECT_EQ(set.groups[0].settings.at("recipe"), "r");
  EXPECT_EQ(set.groups[2].settings.at("recipe"), "other");
  EXPECT_EQ(set.groups[2].settings.size(), 1U);  // there is no other of its recipe to differ from
}

}  // namespace
