// Tests of runs side by side.
#include "report/compare.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kd/diagnostics.h"
#include "temporary_folder.h"

namespace {

/// A run folder as far as a comparison reads it.
std::filesystem::path write_run(const TemporaryFolder& folder, const std::string& name, int seed,
                                const std::string& temperature, const std::string& rows) {
  folder.write(name + "/resolved.toml", "seed = " + std::to_string(seed) +
                                            "\ndevice = \"auto\"\n[[stage]]\nname = \"student\"\nscheme = { type = "
                                            "\"vanilla_kd\", temperature = " +
                                            temperature + " }\n");
  folder.write(name + "/summary.csv", "stage,network,reused,top1\n" + rows);
  folder.write(name + "/run.json", R"({"status": "ok", "whole": true, "max_steps": 0})");
  return folder.path / name;
}

TEST(Compare, GivesMeanAndSampleDeviationOverSeeds) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", "teacher,model,true,0.5\nstudent,model,false,0.25\n");
  const auto b = write_run(folder, "b", 1, "4", "teacher,model,false,0.75\nstudent,model,false,0.5\n");
  const auto c = write_run(folder, "c", 2, "4", "teacher,model,false,1.0\n");
  folder.write("a/analysis/bins.csv", "\"net, \"\"work\"\"\",low,ece\nx,0,\ny,1,0.5\n");
  const auto groups = kd::compare_runs({a, b, c}).groups;
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].seeds, (std::vector<std::string>{"0", "1", "2"}));
  EXPECT_TRUE(groups[0].differences.empty());
  ASSERT_EQ(groups[0].tables.size(), 2U);
  const kd::ComparedTable& summary = groups[0].tables[0];
  EXPECT_EQ(summary.name_columns, (std::vector<std::string>{"stage", "network"}));
  EXPECT_EQ(summary.number_columns, (std::vector<std::string>{"top1"}));
  ASSERT_EQ(summary.rows.size(), 2U);
  EXPECT_EQ(summary.rows[0].runs, 3U);
  EXPECT_DOUBLE_EQ(summary.rows[0].numbers[0].mean, 0.75);
  EXPECT_DOUBLE_EQ(summary.rows[0].numbers[0].deviation, 0.25);
  EXPECT_EQ(summary.rows[1].runs, 2U);
  EXPECT_DOUBLE_EQ(summary.rows[1].numbers[0].mean, 0.375);
  const kd::ComparedTable& bins = groups[0].tables[1];
  EXPECT_EQ(bins.name_columns, (std::vector<std::string>{"net, \"work\""}));
  EXPECT_TRUE(std::isnan(bins.rows[0].numbers[1].mean));
  const std::string text = kd::to_markdown(groups);
  EXPECT_NE(text.find("## 3 run(s), seed 0, 1, 2"), std::string::npos) << text;
  EXPECT_NE(text.find("| teacher | model | 0.7500 ± 0.2500 |\n"), std::string::npos) << text;
  EXPECT_NE(text.find("| student | model | 0.3750 ± 0.1768 | 2 run(s) only\n"), std::string::npos) << text;
  EXPECT_NE(kd::to_csv(groups).find("0,summary.csv,\"teacher/model\",top1,3,0.75,0.25\n"), std::string::npos);
}

TEST(Compare, KeepsRowsOfOneNameApartByTheirOrder) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", "s,m,false,0.1\ns,m,false,0.3\n");
  const auto b = write_run(folder, "b", 1, "4", "s,m,false,0.2\ns,m,false,0.5\n");
  const auto groups = kd::compare_runs({a, b}).groups;
  const auto& rows = groups[0].tables[0].rows;
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_DOUBLE_EQ(rows[0].numbers[0].mean, 0.15);
  EXPECT_DOUBLE_EQ(rows[1].numbers[0].mean, 0.4);
}

TEST(Compare, SaysInWhatGroupsDiffer) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", "s,m,false,0.1\n");
  const auto b = write_run(folder, "b", 0, "8", "s,m,false,0.2\n");
  const auto groups = kd::compare_runs({a, b}).groups;
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].differences, std::vector<std::string>{"stage.student.scheme.temperature = 4"});
  EXPECT_EQ(groups[1].differences, std::vector<std::string>{"stage.student.scheme.temperature = 8"});
  EXPECT_TRUE(std::isnan(groups[0].tables[0].rows[0].numbers[0].deviation));
}

TEST(Compare, WhatIsQuotedIsANameWhateverItLooksLike) {
  const TemporaryFolder folder;
  const auto a = write_run(folder, "a", 0, "4", "s,m,false,0.1\n");
  const auto b = write_run(folder, "b", 1, "4", "s,m,false,0.2\n");
  folder.write("a/analysis/classes.csv", "class,accuracy\n\"3\",0.5\n\"4\",0.7\n");
  folder.write("b/analysis/classes.csv", "class,accuracy\n\"3\",0.6\n\"4\",0.9\n");
  const auto groups = kd::compare_runs({a, b}).groups;
  const kd::ComparedTable& table = groups[0].tables[1];
  EXPECT_EQ(table.name_columns, std::vector<std::string>{"class"});
  EXPECT_EQ(table.number_columns, std::vector<std::string>{"accuracy"});
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[1].names, std::vector<std::string>{"4"});
  EXPECT_DOUBLE_EQ(table.rows[1].numbers[0].mean, 0.8);
}

TEST(Compare, LeavesOutByNameWhatMustNotBeAveraged) {
  const TemporaryFolder folder;
  const auto whole = write_run(folder, "whole", 0, "4", "s,m,false,0.8\n");
  const auto second = write_run(folder, "second", 1, "4", "s,m,false,0.9\n");
  const auto again = write_run(folder, "again", 1, "4", "s,m,false,0.9\n");
  const auto cut = write_run(folder, "cut", 2, "4", "s,m,false,0.1\n");
  folder.write("cut/run.json", R"({"status": "ok", "whole": false, "max_steps": 3})");
  const auto stopped = write_run(folder, "stopped", 3, "4", "s,m,false,0.2\n");
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
