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
                                const std::string& temperature, const std::vector<kd::Row>& rows) {
  folder.write(name + "/resolved.toml", "seed = " + std::to_string(seed) +
                                            "\ndevice = \"auto\"\n[[stage]]\nname = \"student\"\nscheme = { type = "
                                            "\"vanilla_kd\", temperature = " +
                                            temperature + " }\n");
  folder.write(name + "/summary.json",
               json_of("summary", {{"stage", kText}, {"network", kText}, {"top1", kNumber}}, rows));
  folder.write(name + "/run.json", R"({"status": "ok", "whole": true, "max_steps": 0})");
  return folder.path / name;
}

std::vector<std::string> names(const std::vector<kd::Column>& columns) {
  std::vector<std::string> result;
  for (const kd::Column& column : columns) result.push_back(column.name);
  return result;
}

TEST(Compare, GivesMeanAndSampleDeviationOverSeeds) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", {{"teacher", "model", 0.5}, {"student", "model", 0.25}});
  const auto b = write_run(folder, "b", 1, "4", {{"teacher", "model", 0.75}, {"student", "model", 0.5}});
  const auto c = write_run(folder, "c", 2, "4", {{"teacher", "model", 1.0}});
  folder.write("a/analysis/bins.json", json_of("bins", {{"net, \"work\"", kText}, {"low", kNumber}, {"ece", kNumber}},
                                               {{"x", 0, {}}, {"y", 1, 0.5}}));
  folder.write("a/analysis/drawn.figure.json", "{}");
  const auto groups = kd::compare_runs({a, b, c}).groups;
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].seeds, (std::vector<std::string>{"0", "1", "2"}));
  EXPECT_TRUE(groups[0].differences.empty());
  ASSERT_EQ(groups[0].tables.size(), 2U);
  const kd::ComparedTable& summary = groups[0].tables[0];
  EXPECT_EQ(names(summary.name_columns), (std::vector<std::string>{"stage", "network"}));
  EXPECT_EQ(names(summary.number_columns), std::vector<std::string>{"top1"});
  ASSERT_EQ(summary.rows.size(), 2U);
  EXPECT_EQ(summary.rows[0].runs, 3U);
  EXPECT_DOUBLE_EQ(summary.rows[0].numbers[0].mean, 0.75);
  EXPECT_DOUBLE_EQ(summary.rows[0].numbers[0].deviation, 0.25);
  EXPECT_EQ(summary.rows[1].runs, 2U);
  EXPECT_DOUBLE_EQ(summary.rows[1].numbers[0].mean, 0.375);
  const kd::ComparedTable& bins = groups[0].tables[1];
  EXPECT_EQ(names(bins.name_columns), std::vector<std::string>{"net, \"work\""});
  EXPECT_TRUE(std::isnan(bins.rows[0].numbers[1].mean));
  const std::string text = kd::to_markdown(groups);
  EXPECT_NE(text.find("## 3 run(s), seed 0, 1, 2"), std::string::npos) << text;
  EXPECT_NE(text.find("| teacher | model | 0.7500 ± 0.2500 | 3 |\n"), std::string::npos) << text;
  EXPECT_NE(text.find("| student | model | 0.3750 ± 0.1768 | 2 |\n"), std::string::npos) << text;
  EXPECT_NE(kd::to_csv(groups).find("0,summary,\"teacher/model\",top1,3,0.75,0.25\n"), std::string::npos);
}

TEST(Compare, KeepsRowsOfOneNameApartByTheirOrder) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", {{"s", "m", 0.1}, {"s", "m", 0.3}});
  const auto b = write_run(folder, "b", 1, "4", {{"s", "m", 0.2}, {"s", "m", 0.5}});
  const auto groups = kd::compare_runs({a, b}).groups;
  const auto& rows = groups[0].tables[0].rows;
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_DOUBLE_EQ(rows[0].numbers[0].mean, 0.15);
  EXPECT_DOUBLE_EQ(rows[1].numbers[0].mean, 0.4);
}

TEST(Compare, SaysInWhatGroupsDiffer) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", {{"s", "m", 0.1}});
  const auto b = write_run(folder, "b", 0, "8", {{"s", "m", 0.2}});
  const auto groups = kd::compare_runs({a, b}).groups;
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].differences, std::vector<std::string>{"stage.student.scheme.temperature = 4"});
  EXPECT_EQ(groups[1].differences, std::vector<std::string>{"stage.student.scheme.temperature = 8"});
  EXPECT_TRUE(std::isnan(groups[0].tables[0].rows[0].numbers[0].deviation));
}

TEST(Compare, TextIsANameWhateverItLooksLike) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", {{"s", "m", 0.1}});
  const auto b = write_run(folder, "b", 1, "4", {{"s", "m", 0.2}});
  const std::vector<kd::Column> columns = {{"class", kText}, {"accuracy", kShare}};
  folder.write("a/analysis/classes.json", json_of("classes", columns, {{"3", 0.5}, {"4", 0.7}}));
  folder.write("b/analysis/classes.json", json_of("classes", columns, {{"3", 0.6}, {"4", 0.9}}));
  const auto groups = kd::compare_runs({a, b}).groups;
  const kd::ComparedTable& table = groups[0].tables[1];
  EXPECT_EQ(names(table.name_columns), std::vector<std::string>{"class"});
  EXPECT_EQ(names(table.number_columns), std::vector<std::string>{"accuracy"});
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[1].names, std::vector<std::string>{"4"});
  EXPECT_DOUBLE_EQ(table.rows[1].numbers[0].mean, 0.8);
  EXPECT_NE(kd::to_markdown(groups).find("| 4 | 80.00 ± 14.14 |"), std::string::npos) << kd::to_markdown(groups);
  EXPECT_NE(kd::to_latex(groups).find("4 & 80.00 $\\pm$ 14.14 \\\\"), std::string::npos) << kd::to_latex(groups);
}

TEST(Compare, LeavesOutByNameWhatMustNotBeAveraged) {
  const TemporaryFolder folder;
  const auto whole = write_run(folder, "whole", 0, "4", {{"s", "m", 0.8}});
  const auto second = write_run(folder, "second", 1, "4", {{"s", "m", 0.9}});
  const auto again = write_run(folder, "again", 1, "4", {{"s", "m", 0.9}});
  const auto cut = write_run(folder, "cut", 2, "4", {{"s", "m", 0.1}});
  folder.write("cut/run.json", R"({"status": "ok", "whole": false, "max_steps": 3})");
  const auto stopped = write_run(folder, "stopped", 3, "4", {{"s", "m", 0.2}});
  folder.write("stopped/run.json", R"({"status": "stopped", "whole": true})");
  const kd::Comparison comparison =
      kd::compare_runs({whole, cut, folder.path / "none", second, stopped, again, folder.path / "." / "whole"});
  ASSERT_EQ(comparison.groups.size(), 1U);
  EXPECT_EQ(comparison.groups[0].seeds, (std::vector<std::string>{"0", "1"}));
  EXPECT_DOUBLE_EQ(comparison.groups[0].tables[0].rows[0].numbers[0].mean, 0.85);
  std::vector<std::string> reasons;
  for (const kd::LeftOutRun& run : comparison.left_out)
    reasons.push_back(run.folder.filename().string() + ": " + run.reason);
  EXPECT_EQ(reasons,
            (std::vector<std::string>{"cut: each of its stages was ended after 3 steps (--max-steps)",
                                      "none: there is no such folder", "stopped: its status is 'stopped'",
                                      "again: it repeats seed 1 of " + second.string(), "whole: it was named before"}));
}

TEST(Compare, RefusesWhereThereIsNoFinishedRun) {
  const TemporaryFolder folder;
  try {
    kd::compare_runs({folder.path});
    FAIL();
  } catch (const kd::FileError& error) {
    EXPECT_NE(std::string(error.what()).find("it is no run folder"), std::string::npos) << error.what();
  }
}

}  // namespace
