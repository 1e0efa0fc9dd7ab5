// Tests of declared parameters: what a schema says, what it checks, and what comes out.
#include "kd/schema.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "recipe/toml_reader.h"

namespace {

using kd::Value;

enum class Form { kRound, kSquare };

struct Everything {
  bool flag = false;
  std::int64_t count = 0;
  double size = 0;
  std::string title;
  Form form = Form::kRound;
  std::vector<std::int64_t> counts;
  std::vector<double> sizes;
  std::vector<std::string> titles;
  kd::Scheduled weight;
  kd::ComponentSpec part;
  std::vector<kd::ComponentSpec> parts;

  static void schema(kd::Schema<Everything>& s) {
    s.field("flag", &Everything::flag, "a flag").def(true);
    s.field("count", &Everything::count, "how many").def(2).range(1, 9);
    s.field("size", &Everything::size, "in pixels").def(4.0).above(0);
    s.field("title", &Everything::title, "what it is called").def("none");
    s.choice("form", &Everything::form, {{"round", Form::kRound}, {"square", Form::kSquare}}, "its form").def("square");
    s.field("counts", &Everything::counts, "several").def(std::vector<std::int64_t>{1, 2}).at_least(0);
    s.field("sizes", &Everything::sizes, "several").def(std::vector<double>{0.5}).below(10);
    s.field("titles", &Everything::titles, "several").def(std::vector<std::string>{"a", "b"});
    s.field("weight", &Everything::weight, "a number, or a schedule").def(0.5).at_least(0);
    s.component("part", &Everything::part, "part", "one part").optional();
    s.components("parts", &Everything::parts, "part", "parts").with(Beside::fields()).def_toml("[{ type = 'bolt' }]");
  }

  struct Beside {
    double share = 0;
    static void schema(kd::Schema<Beside>& s) { s.field("share", &Beside::share, "its share").def(1.0).range(0, 1); }
    static std::vector<kd::FieldInfo> fields() { return kd::fields_of<Beside>(); }
  };
};

struct Bolt {
  double length = 0;
  static void schema(kd::Schema<Bolt>& s) { s.field("length", &Bolt::length, "in mm").def(3.0).above(0); }
};

struct Box {
  kd::ComponentSpec content;
  std::int64_t walls = 0;
  static void schema(kd::Schema<Box>& s) {
    s.component("content", &Box::content, "part", "what is in it");
    s.field("walls", &Box::walls, "number of walls");
  }
};

struct Ramp {
  double to = 0;
  static void schema(kd::Schema<Ramp>& s) { s.field("to", &Ramp::to, "last value").def(0.0); }
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
  kd::Roles roles(const std::string&, const std::string&) const override { return {}; }
  std::string refusals() const override { return refused; }

  std::string refused;

 private:
  const std::map<std::pair<std::string, std::string>, std::vector<kd::FieldInfo>> fields_ = {
      {{"part", "bolt"}, kd::fields_of<Bolt>()},
      {{"part", "box"}, kd::fields_of<Box>()},
      {{"schedule", "ramp"}, kd::fields_of<Ramp>()},
  };
};

struct Resolved {
  Value value;
  kd::Diagnostics diagnostics;
};

Resolved resolve(const std::string& toml, const kd::ComponentCatalog& catalog = Catalog()) {
  Resolved result;
  result.value = kd::resolve_table(kd::fields_of<Everything>(), kd::read_toml(toml, "r.toml"), "thing", catalog,
                                   result.diagnostics);
  return result;
}

std::string problems(const std::string& toml) { return resolve(toml).diagnostics.to_string(); }

constexpr const char* kDefaults =
    "{ flag = true, count = 2, size = 4.0, title = \"none\", form = \"square\", counts = [1, 2], sizes = [0.5], titles "
    "= [\"a\", \"b\"], "
    "weight = 0.5, parts = [{ type = \"bolt\", length = 3.0, share = 1.0 }] }";

TEST(Schema, FillsInEveryDefaultInDeclaredOrder) {
  const Resolved resolved = resolve("");
  EXPECT_EQ(resolved.diagnostics.to_string(), "");
  EXPECT_EQ(resolved.value.to_toml(), kDefaults);
  EXPECT_TRUE(resolve("title = 'x'\nflag = false")
                  .value.to_toml()
                  .starts_with("{ flag = false, count = 2, size = 4.0, title = \"x\", "));
}

TEST(Schema, ResolvingTwiceChangesNothing) {
  kd::Diagnostics diagnostics;
  const Value once = resolve("").value;
  EXPECT_EQ(kd::resolve_table(kd::fields_of<Everything>(), once, "thing", Catalog(), diagnostics), once);
  EXPECT_EQ(diagnostics.to_string(), "");
}

TEST(Schema, ReadsParametersIntoTheStruct) {
  const Resolved resolved = resolve(
      "flag = false\ncount = 9\nsize = 7\ntitle = 't'\nform = 'round'\ncounts = []\nsizes = [1, 2.5]\ntitles = "
      "['x']\nweight = 2\n"
      "part = { type = 'box', walls = 4, content = { type = 'bolt' } }\nparts = [{ type = 'bolt', share = 0.25, length "
      "= 8 }]");
  ASSERT_EQ(resolved.diagnostics.to_string(), "");
  const auto read = kd::read_parameters<Everything>(resolved.value);
  EXPECT_FALSE(read.flag);
  EXPECT_EQ(read.count, 9);
  EXPECT_EQ(read.size, 7.0);
  EXPECT_EQ(read.title, "t");
  EXPECT_EQ(read.form, Form::kRound);
  EXPECT_TRUE(read.counts.empty());
  EXPECT_EQ(read.sizes, std::vector<double>({1, 2.5}));
  EXPECT_EQ(read.titles, std::vector<std::string>({"x"}));
  EXPECT_EQ(read.weight.number, 2.0);
  EXPECT_FALSE(read.weight.schedule);
  EXPECT_EQ(read.part.kind, "part");
  EXPECT_EQ(read.part.type, "box");
  EXPECT_EQ(read.part.location.to_string(), "r.toml:10:8");
  EXPECT_EQ(kd::read_parameters<Box>(read.part.parameters).content.parameters.to_toml(), "{ length = 3.0 }");
  ASSERT_EQ(read.parts.size(), 1U);
  EXPECT_EQ(read.parts[0].parameters.to_toml(), "{ length = 8.0 }");
  EXPECT_EQ(read.parts[0].extras.to_toml(), "{ share = 0.25 }");
}

TEST(Schema, ReadsDefaultsIntoTheStruct) {
  const auto read = kd::read_parameters<Everything>(resolve("").value);
  EXPECT_TRUE(read.flag);
  EXPECT_EQ(read.form, Form::kSquare);
  EXPECT_EQ(read.counts, std::vector<std::int64_t>({1, 2}));
  EXPECT_EQ(read.weight.number, 0.5);
  EXPECT_FALSE(read.part) << "an optional component that was left out";
  EXPECT_EQ(read.parts.size(), 1U);
}

TEST(Schema, TakesAScheduleForANumber) {
  const Resolved resolved = resolve("weight = { type = 'ramp', to = 3 }");
  ASSERT_EQ(resolved.diagnostics.to_string(), "");
  const auto read = kd::read_parameters<Everything>(resolved.value);
  ASSERT_TRUE(read.weight.schedule);
  EXPECT_EQ(read.weight.schedule.kind, "schedule");
  EXPECT_EQ(read.weight.schedule.type, "ramp");
  EXPECT_EQ(read.weight.schedule.parameters.to_toml(), "{ to = 3.0 }");
}

TEST(Schema, KeepsThePlaceOfWhatWasWrittenAndMarksDefaults) {
  const Value value = resolve("\ncount = 3").value;
  EXPECT_EQ(value.find("count")->location.to_string(), "r.toml:2:9");
  EXPECT_EQ(value.find("size")->location.to_string(), "default");
  EXPECT_EQ(value.find("parts")->as_list()[0].find("length")->location.to_string(), "default");
  EXPECT_EQ(resolve("size = 3").value.find("size")->location.to_string(), "r.toml:1:8") << "an integer made a number";
}

TEST(Schema, SaysWhichKindIsWanted) {
  EXPECT_EQ(problems("flag = 1"), "r.toml:1:8: error: thing: 'flag' wants a boolean, and this is an integer");
  EXPECT_EQ(problems("count = 2.5"), "r.toml:1:9: error: thing: 'count' wants an integer, and this is a number");
  EXPECT_EQ(problems("size = 'x'"), "r.toml:1:8: error: thing: 'size' wants a number, and this is a string");
  EXPECT_EQ(problems("title = []"), "r.toml:1:9: error: thing: 'title' wants a string, and this is a list");
  EXPECT_EQ(problems("counts = 1"),
            "r.toml:1:10: error: thing: 'counts' wants a list of integers, and this is an integer");
  EXPECT_EQ(problems("counts = [1, true]"),
            "r.toml:1:14: error: thing: 'counts' wants an integer, and this is a boolean");
  EXPECT_EQ(problems("titles = ['a', 1]"),
            "r.toml:1:16: error: thing: 'titles' wants a string, and this is an integer");
  EXPECT_EQ(problems("weight = 'x'"),
            "r.toml:1:10: error: thing: 'weight' wants a number or schedule, and this is a string");
  EXPECT_EQ(problems("parts = {}"),
            "r.toml:1:9: error: thing: 'parts' wants a list of components, and this is a table");
}

TEST(Schema, ATypeIsAnUnknownKeyWhereNoComponentIsWanted) {
  EXPECT_EQ(problems("type = 'x'"),
            "r.toml:1:1: error: thing: unknown key 'type'\n    hint: known keys: flag, count, size, title, form, "
            "counts, sizes, titles, weight, part, parts");
}

TEST(Schema, AnEmptyKeyIsNoPosition) {
  EXPECT_EQ(problems("parts = { '' = 1 }"),
            "r.toml:1:9: error: thing: 'parts' wants a list of components, and this is a table");
}

TEST(Schema, SaysWhichValuesAreAllowed) {
  EXPECT_EQ(problems("count = 0"), "r.toml:1:9: error: thing: 'count' = 0 must be in [1, 9]");
  EXPECT_EQ(problems("count = 10"), "r.toml:1:9: error: thing: 'count' = 10 must be in [1, 9]");
  EXPECT_EQ(problems("count = 1"), "");
  EXPECT_EQ(problems("count = 9"), "");
  EXPECT_EQ(problems("size = 0.0"), "r.toml:1:8: error: thing: 'size' = 0.0 must be > 0");
  EXPECT_EQ(problems("size = nan"), "r.toml:1:8: error: thing: 'size' = nan must be finite");
  EXPECT_EQ(problems("counts = [0, -1]"), "r.toml:1:14: error: thing: 'counts' = -1 must be ≥ 0");
  EXPECT_EQ(problems("sizes = [10]"), "r.toml:1:10: error: thing: 'sizes' = 10 must be < 10");
  EXPECT_EQ(problems("weight = -1"), "r.toml:1:10: error: thing: 'weight' = -1 must be ≥ 0");
  EXPECT_EQ(problems("parts = [{ type = 'bolt', share = 2 }]"),
            "r.toml:1:35: error: part 'bolt': 'share' = 2 must be in [0, 1]");
}

TEST(Schema, OffersTheNearestChoice) {
  EXPECT_EQ(
      problems("form = 'squar'"),
      "r.toml:1:8: error: thing: 'form' = \"squar\" is not one of: round | square\n    hint: did you mean 'square'?");
  EXPECT_EQ(problems("form = 'oval'"), "r.toml:1:8: error: thing: 'form' = \"oval\" is not one of: round | square");
  EXPECT_EQ(problems("form = 1"), "r.toml:1:8: error: thing: 'form' wants a choice, and this is an integer");
}

TEST(Schema, ReportsAnUnknownKeyWhereTheKeyStands) {
  EXPECT_EQ(problems("a = 1\n  coutn = 3"),
            "r.toml:1:1: error: thing: unknown key 'a'\n"
            "    hint: known keys: flag, count, size, title, form, counts, sizes, titles, weight, part, parts\n"
            "r.toml:2:3: error: thing: unknown key 'coutn'\n"
            "    hint: did you mean 'count'?");
}

TEST(Schema, ReportsEveryProblemAtOnce) {
  EXPECT_EQ(resolve("flag = 1\ncount = 0\nsize = 'x'\nform = 'f'\nnone = 1").diagnostics.problems().size(), 5U);
}

TEST(Schema, ReportsWhatIsRequired) {
  EXPECT_EQ(problems("\npart = { type = 'box', content = { type = 'bolt' } }"),
            "r.toml:2:8: error: part 'box': 'walls' is required: number of walls");
  EXPECT_EQ(resolve("part = { type = 'box' }").diagnostics.problems().size(), 2U);
}

TEST(Schema, ReportsAWrongComponent) {
  EXPECT_EQ(problems("part = { type = 'blot' }"),
            "r.toml:1:17: error: unknown part 'blot'\n    hint: did you mean 'bolt'?");
  EXPECT_EQ(problems("part = { type = 'screwdriver' }"),
            "r.toml:1:17: error: unknown part 'screwdriver'\n    hint: known: bolt, box");
  EXPECT_EQ(problems("part = { length = 1 }"),
            "r.toml:1:8: error: this part needs a 'type'\n    hint: known: bolt, box");
  EXPECT_EQ(problems("part = { type = 3 }"),
            "r.toml:1:17: error: this part needs a 'type'\n    hint: known: bolt, box");
  EXPECT_EQ(
      problems("part = 'bolt'"),
      "r.toml:1:8: error: a part is a table with 'type', and this is a string\n    hint: write { type = \"bolt\" }");
  EXPECT_EQ(problems("part = { type = 'box', walls = 1, content = { type = 'bolt', lenght = 1 } }"),
            "r.toml:1:62: error: part 'bolt': unknown key 'lenght'\n    hint: did you mean 'length'?");
  EXPECT_EQ(problems("part = { type = 'bolt', share = 1 }").substr(0, 57),
            "r.toml:1:25: error: part 'bolt': unknown key 'share'\n    ")
      << "what stands beside a part of a list means nothing elsewhere";
}

TEST(Schema, NamesLibrariesThatWereRefusedBesideAnUnknownName) {
  Catalog catalog;
  catalog.refused = "\n      broken.so: no stamp";
  const std::string text = resolve("part = { type = 'screwdriver' }", catalog).diagnostics.to_string();
  EXPECT_NE(text.find("broken.so: no stamp"), std::string::npos) << text;
}

TEST(Schema, WantsATable) {
  kd::Diagnostics diagnostics;
  kd::resolve_table(kd::fields_of<Bolt>(), Value(3), "thing", Catalog(), diagnostics);
  EXPECT_EQ(diagnostics.to_string(), "error: thing: a table is wanted, and this is an integer");
}

TEST(ResolveComponent, PutsTheTypeFirst) {
  kd::Diagnostics diagnostics;
  const Value value =
      kd::resolve_component("part", {}, Value::parse("{ length = 2, type = 'bolt' }"), Catalog(), diagnostics);
  EXPECT_EQ(diagnostics.to_string(), "");
  EXPECT_EQ(value.to_toml(), "{ type = \"bolt\", length = 2.0 }");
  const Value again = kd::resolve_component("part", {}, value, Catalog(), diagnostics);
  EXPECT_EQ(again, value);
}

TEST(FieldInfo, SaysItsRange) {
  const auto range = [](auto refine) {
    kd::FieldInfo info;
    kd::FieldBuilder builder(info);
    refine(builder);
    return info.range_text();
  };
  EXPECT_EQ(range([](kd::FieldBuilder&) {}), "");
  EXPECT_EQ(range([](kd::FieldBuilder& b) { b.range(0, 1); }), "in [0, 1]");
  EXPECT_EQ(range([](kd::FieldBuilder& b) { b.above(0).below(1.5); }), "in (0, 1.5)");
  EXPECT_EQ(range([](kd::FieldBuilder& b) { b.at_least(0).below(1); }), "in [0, 1)");
  EXPECT_EQ(range([](kd::FieldBuilder& b) { b.above(0); }), "> 0");
  EXPECT_EQ(range([](kd::FieldBuilder& b) { b.at_least(1); }), "≥ 1");
  EXPECT_EQ(range([](kd::FieldBuilder& b) { b.below(1); }), "< 1");
  EXPECT_EQ(range([](kd::FieldBuilder& b) { b.at_most(1); }), "≤ 1");
}

TEST(FieldInfo, TellsWhatWasDeclared) {
  const std::vector<kd::FieldInfo> fields = kd::fields_of<Everything>();
  const std::vector<std::string> types = {"boolean",
                                          "integer",
                                          "number",
                                          "string",
                                          "choice",
                                          "list of integers",
                                          "list of numbers",
                                          "list of strings",
                                          "number or schedule",
                                          "component",
                                          "list of components"};
  ASSERT_EQ(fields.size(), types.size());
  for (std::size_t i = 0; i < types.size(); ++i) {
    EXPECT_EQ(kd::type_name(fields[i].type), types[i]);
    EXPECT_FALSE(fields[i].required) << fields[i].name;
  }
  EXPECT_EQ(fields[2].help, "in pixels");
  EXPECT_EQ(fields[4].choices, std::vector<std::string>({"round", "square"}));
  EXPECT_EQ(fields[4].range_text(), "one of: round | square");
  EXPECT_EQ(fields[8].component_kind, "schedule");
  EXPECT_TRUE(fields[9].default_value.is_null());
  EXPECT_EQ(fields[10].component_kind, "part");
  ASSERT_EQ(fields[10].extras.size(), 1U);
  EXPECT_EQ(fields[10].extras[0].name, "share");
  EXPECT_TRUE(kd::fields_of<Box>()[1].required);
}

TEST(ToComponent, SplitsParametersFromExtras) {
  const kd::ComponentSpec spec = kd::to_component("part", Everything::Beside::fields(),
                                                  Value::parse("{ type = 'bolt', share = 0.5, length = 2.0 }"));
  EXPECT_EQ(spec.kind, "part");
  EXPECT_EQ(spec.type, "bolt");
  EXPECT_EQ(spec.parameters.to_toml(), "{ length = 2.0 }");
  EXPECT_EQ(spec.extras.to_toml(), "{ share = 0.5 }");
  EXPECT_TRUE(spec);
  EXPECT_FALSE(kd::ComponentSpec());
}

TEST(Schema, AListReplacesTheOneThatItsMemberBeganWith) {
  struct Lists {
    std::vector<double> numbers = {1, 2};
    std::vector<std::string> words = {"a"};
    std::map<std::string, double> table = {{"x", 1}};

    static void schema(kd::Schema<Lists>& s) {
      s.field("numbers", &Lists::numbers, "some").def(std::vector<double>{1, 2});
      s.field("words", &Lists::words, "some").def(std::vector<std::string>{"a"});
      s.field("table", &Lists::table, "some");
    }
  };
  const auto read = kd::read_parameters<Lists>(kd::Value::parse("{ numbers = [3], words = [], table = { y = 2 } }"));
  EXPECT_EQ(read.numbers, (std::vector<double>{3}));
  EXPECT_TRUE(read.words.empty());
  EXPECT_EQ(read.table, (std::map<std::string, double>{{"y", 2}}));
}

}  // namespace
