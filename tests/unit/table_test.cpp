// Tests of tables as text.
#include "kd/table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kd/diagnostics.h"
#include "report/table_views.h"

namespace {

using enum kd::ColumnType;

kd::Table make_table() {
  return {.name = "results",
          .caption = "what was measured",
          .columns = {{"stage", kText},
                      {"parameters", kCount},
                      {"top1", kShare, "top-1"},
                      {"nll", kNumber, "NLL"},
                      {"hidden", kNumber, "", false},
                      {"seconds", kSeconds}},
          .rows = {{"teacher", 12345, 0.7428, 0.51234, 1, 12.34}, {"a \"b\", ±", 7, {}, -1e-9, 2, "reused"}}};
}

TEST(Table, PeopleReadPercentAndRoundedNumbers) {
  EXPECT_EQ(kd::to_console(make_table()),
            "stage     parameters  top-1 %     NLL  seconds\n"
            "teacher        12345    74.28  0.5123     12.3\n"
            "a \"b\", ±           7        –  0.0000   reused\n");
  EXPECT_EQ(kd::to_markdown(make_table()),
            "| stage | parameters | top-1 % | NLL | seconds |\n"
            "|---|---:|---:|---:|---:|\n"
            "| teacher | 12345 | 74.28 | 0.5123 | 12.3 |\n"
            "| a \"b\", ± | 7 | – | 0.0000 | reused |\n");
  EXPECT_EQ(kd::to_latex(make_table()),
            "% what was measured\n% \\usepackage{booktabs}\n"
            "\\begin{tabular}{lrrrr}\n\\toprule\n"
            "stage & parameters & top-1 \\% & NLL & seconds \\\\\n\\midrule\n"
            "teacher & 12345 & 74.28 & 0.5123 & 12.3 \\\\\n"
            "a \"b\", $\\pm$ & 7 & -- & 0.0000 & reused \\\\\n"
            "\\bottomrule\n\\end{tabular}\n");
}

TEST(Table, LatexHasMinusSignsAndItsOwnLetters) {
  const kd::Table table{
      .name = "gains",
      .caption = "gains",
      .columns = {{"stage", kd::ColumnType::kText, "stage"}, {"gain", kd::ColumnType::kText, "Δ top-1"}},
      .rows = {{"wrn-16-2", "-2.53 [-3.71, -1.36]"}}};
  const std::string text = kd::to_latex(table);
  EXPECT_NE(text.find("stage & $\\Delta$ top-1 "), std::string::npos) << text;
  EXPECT_NE(text.find("wrn-16-2 & $-$2.53 [$-$3.71, $-$1.36] "), std::string::npos) << text;
}

TEST(Table, ProgramsReadWholeNumbers) {
  EXPECT_EQ(kd::to_csv(make_table()),
            "stage,parameters,top1,nll,hidden,seconds\n"
            "\"teacher\",12345,0.7428,0.51234,1,12.34\n"
            "\"a \"\"b\"\", ±\",7,,-1e-09,2,\"reused\"\n");
}

TEST(Table, ComesBackFromJson) {
  const kd::Table table = make_table();
  const kd::Table read = kd::table_from_json(kd::to_json(table), "results.json");
  EXPECT_EQ(read.name, table.name);
  EXPECT_EQ(read.caption, table.caption);
  EXPECT_EQ(read.rows, table.rows);
  ASSERT_EQ(read.columns.size(), table.columns.size());
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    EXPECT_EQ(read.columns[i].name, table.columns[i].name);
    EXPECT_EQ(read.columns[i].type, table.columns[i].type);
    EXPECT_EQ(read.columns[i].title, table.columns[i].title);
    EXPECT_EQ(read.columns[i].shown, table.columns[i].shown);
  }
  // What is not finite is nothing, as in every file of a run.
  kd::Table infinite = table;
  infinite.rows[0][3] = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(kd::table_from_json(kd::to_json(infinite), "").rows[0][3].number()));
}

TEST(Table, WhatIsNoTableIsSaid) {
  for (const char* text :
       {"", "{}", "[1]", R"({"name": "a", "caption": "", "columns": [], "rows": [[1]]})",
        R"({"name": "a", "caption": "", "columns": [{"name": "x", "type": "?", "title": ""}], "rows": []})"}) {
    try {
      kd::table_from_json(text, "bad.json");
      FAIL() << text;
    } catch (const kd::FileError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("bad.json holds no table: ")) << error.what();
    }
  }
}

}  // namespace
