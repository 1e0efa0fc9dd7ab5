// Tests of kd::Value and of the reading and writing of TOML.
#include "kd/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "kd/diagnostics.h"
#include "recipe/toml_reader.h"
#include "temporary_folder.h"

namespace {

using kd::Value;

std::string place(const kd::Location& location) {
  return std::to_string(location.line) + ":" + std::to_string(location.column);
}

std::string error_of(const std::string& document) {
  try {
    kd::read_toml(document, "recipe.toml");
  } catch (const kd::RecipeError& error) {
    return error.what();
  }
  return "";
}

TEST(Value, KnowsItsKind) {
  const struct {
    Value value;
    std::string kind;
  } cases[] = {{Value(), "nothing"},
               {Value(true), "a boolean"},
               {Value(3), "an integer"},
               {Value(3.5), "a number"},
               {Value("text"), "a string"},
               {Value(Value::List{}), "a list"},
               {Value(Value::Table{}), "a table"}};
  for (const auto& [value, kind] : cases) {
    EXPECT_EQ(value.kind_name(), kind);
    EXPECT_EQ(value.is_null(), kind == "nothing");
    EXPECT_EQ(value.is_bool(), kind == "a boolean");
    EXPECT_EQ(value.is_int(), kind == "an integer");
    EXPECT_EQ(value.is_number(), kind == "an integer" || kind == "a number");
    EXPECT_EQ(value.is_string(), kind == "a string");
    EXPECT_EQ(value.is_list(), kind == "a list");
    EXPECT_EQ(value.is_table(), kind == "a table");
  }
}

TEST(Value, GivesAnIntegerAsANumber) {
  EXPECT_EQ(Value(4).as_number(), 4.0);
  EXPECT_EQ(Value(0.25).as_number(), 0.25);
  EXPECT_THROW(Value(0.25).as_int(), std::bad_variant_access);
  EXPECT_THROW(Value("4").as_number(), std::bad_variant_access);
}

TEST(Value, TablesKeepTheOrderOfTheirKeys) {
  Value table = Value(Value::Table{});
  table.set("z", 1);
  table.set("a", 2);
  table.set("m", 3);
  table.set("z", 4);
  EXPECT_EQ(table.to_toml(), "{ z = 4, a = 2, m = 3 }");
  table.erase("a");
  EXPECT_EQ(table.to_toml(), "{ z = 4, m = 3 }");
  EXPECT_EQ(table.find("a"), nullptr);
  EXPECT_EQ(Value(3).find("a"), nullptr);
}

TEST(Value, EqualityIsOfContentNotOfPlace) {
  Value a = Value::parse("{ x = [1, 2.5] }"), b = Value::parse("\n  { x = [1, 2.5] }");
  EXPECT_NE(place(a.location), place(b.location));
  EXPECT_EQ(a, b);
  b.find("x")->as_list()[0] = 1.0;
  EXPECT_FALSE(a == b) << "an integer is no number of equal size";
}

TEST(Value, ReadsBackWhatItWrites) {
  Value table = Value(Value::Table{});
  table.set("plain-key_1", true);
  table.set("with space", -7);
  table.set("", "an empty key");
  table.set("quote\"dot.", Value::List{Value(1), Value(2.5), Value("three"), Value(Value::List{})});
  table.set("größe", Value(Value::Table{}));
  table.set("nested", Value::parse("{ a = { b = { c = [{ d = false }] } } }"));
  const std::vector<Value> values = {false,
                                     std::numeric_limits<std::int64_t>::max(),
                                     std::numeric_limits<std::int64_t>::min(),
                                     Value(Value::List{}),
                                     Value(Value::Table{}),
                                     table,
                                     Value(Value::List{table, Value(Value::List{table})})};
  for (const Value& value : values) EXPECT_EQ(Value::parse(value.to_toml()), value) << value.to_toml();
}

TEST(Value, ReadsBackEveryCharacterOfAString) {
  std::string every_ascii;
  for (char c = 0; c < 127; ++c) every_ascii += c;
  every_ascii += '\x7f';
  for (const std::string& text :
       {every_ascii, std::string("C:\\path\\\"x\"\r\n\tend"), std::string("ö λ 汉 🙂"), std::string()}) {
    EXPECT_EQ(Value::parse(Value(text).to_toml()), Value(text)) << Value(text).to_toml();
    EXPECT_EQ(Value(text).to_toml().find('\n'), std::string::npos);
    Value table = Value(Value::Table{});
    table.set(text, 1);
    EXPECT_EQ(Value::parse(table.to_toml()), table) << table.to_toml();
  }
}

TEST(Value, ReadsBackNumbersToTheLastBit) {
  using Limits = std::numeric_limits<double>;
  for (const double number : {0.1, 1.0 / 3, 1.0, -4.0, 1e-5, 1e22, 123456789012345680.0, 6.02214076e23, Limits::max(),
                              Limits::min(), Limits::denorm_min(), Limits::epsilon(), -0.0}) {
    const Value back = Value::parse(Value(number).to_toml());
    ASSERT_TRUE(back.is_number() && !back.is_int()) << Value(number).to_toml();
    EXPECT_EQ(back.as_number(), number) << Value(number).to_toml();
    EXPECT_EQ(std::signbit(back.as_number()), std::signbit(number)) << Value(number).to_toml();
  }
}

TEST(Value, ReadsBackNumbersThatAreNone) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Value::parse(Value(kInfinity).to_toml()).as_number(), kInfinity);
  EXPECT_EQ(Value::parse(Value(-kInfinity).to_toml()).as_number(), -kInfinity);
  EXPECT_TRUE(std::isnan(Value::parse(Value(std::nan("")).to_toml()).as_number()));
}

TEST(Value, WritesATableWithoutItsEmptyMembers) {
  Value table = Value(Value::Table{});
  table.set("none", Value());
  EXPECT_EQ(table.to_toml(), "{}");
  table.set("some", 1);
  EXPECT_EQ(table.to_toml(), "{ some = 1 }");
}

TEST(Value, QuotesKeysWhereTomlWantsIt) {
  EXPECT_EQ(kd::toml_key("batch_size-2"), "batch_size-2");
  EXPECT_EQ(kd::toml_key("a.b"), "\"a.b\"");
  EXPECT_EQ(kd::toml_key(""), "\"\"");
  EXPECT_EQ(kd::toml_key("a\"b"), "\"a\\\"b\"");
}

TEST(Value, ParseCountsPlacesFromTheTextItIsGiven) {
  const Value value = Value::parse("[1,\n  { a = 2 }]");
  EXPECT_EQ(place(value.location), "1:1");
  EXPECT_EQ(place(value.as_list()[0].location), "1:2");
  EXPECT_EQ(place(value.as_list()[1].location), "2:3");
  EXPECT_EQ(place(value.as_list()[1].find("a")->location), "2:9");
}

TEST(Value, ParseRefusesWhatIsNotOneValue) {
  for (const char* text : {"", "  ", "1, 2", "1 2", "[1", "{ a = }", "adam", "a = 1", "'open", "1979-05-27"}) {
    EXPECT_THROW(Value::parse(text), kd::RecipeError) << text;
  }
  try {
    Value::parse("{ a = }");
    FAIL();
  } catch (const kd::RecipeError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("value:1:7: error: ")) << error.what();
    EXPECT_EQ(error.code(), kd::ExitCode::kUsage);
  }
}

constexpr const char* kRecipe =
    "title = 'x'\n"
    "\n"
    "[train]  # a comment\n"
    "  optimizer = { type = 'sgd', lr = 0.1 }\n"
    "  milestones = [\n"
    "    150,\n"
    "      180 ]\n"
    "[data]\n"
    "type = \"mnist\"\n"
    "[[stage]]\n"
    "name = 'teacher'\n"
    "[stage.model]\n"
    "type = 'mlp'\n"
    "[[stage]]\n"
    "name = 'student'\n"
    "model.type = 'mlp'\n"
    "model.hidden = [1]\n";

TEST(TomlReader, KeepsTheOrderOfTheFile) {
  EXPECT_EQ(kd::read_toml(kRecipe, "recipe.toml").to_toml(),
            "{ title = \"x\", train = { optimizer = { type = \"sgd\", lr = 0.1 }, milestones = [150, 180] }, data = { "
            "type = \"mnist\" }, "
            "stage = [{ name = \"teacher\", model = { type = \"mlp\" } }, { name = \"student\", model = { type = "
            "\"mlp\", hidden = [1] } }] }");
}

TEST(TomlReader, KnowsWhereEachValueStands) {
  const Value recipe = kd::read_toml(kRecipe, "recipe.toml");
  const Value& train = *recipe.find("train");
  EXPECT_EQ(recipe.find("title")->location.to_string(), "recipe.toml:1:9");
  EXPECT_EQ(place(train.find("optimizer")->location), "4:15");
  EXPECT_EQ(place(train.find("optimizer")->find("lr")->location), "4:36");
  EXPECT_EQ(place(train.find("milestones")->as_list()[0].location), "6:5");
  EXPECT_EQ(place(train.find("milestones")->as_list()[1].location), "7:7");
  const Value::List& stages = recipe.find("stage")->as_list();
  EXPECT_EQ(place(stages[0].location), "10:1");
  EXPECT_EQ(place(stages[0].find("model")->find("type")->location), "13:8");
  EXPECT_EQ(place(stages[1].location), "14:1");
  EXPECT_EQ(place(stages[1].find("model")->find("hidden")->location), "17:16");
}

TEST(TomlReader, KnowsWhereEachKeyStands) {
  const Value recipe = kd::read_toml(kRecipe, "recipe.toml");
  const auto key_place = [](const Value& table, std::size_t i) { return place(table.as_table()[i].key_location); };
  EXPECT_EQ(key_place(recipe, 0), "1:1");
  EXPECT_EQ(key_place(recipe, 1), "3:2");
  const Value& train = *recipe.find("train");
  EXPECT_EQ(key_place(train, 0), "4:3");
  EXPECT_EQ(key_place(*train.find("optimizer"), 1), "4:31");
  EXPECT_EQ(key_place(*recipe.find("stage")->as_list()[1].find("model"), 1), "17:7");
}

TEST(TomlReader, SaysWhereAFileIsNoToml) {
  EXPECT_TRUE(error_of("a = 1\nb = = 2\n").starts_with("recipe.toml:2:5: error: ")) << error_of("a = 1\nb = = 2\n");
  EXPECT_TRUE(error_of("a = 1\na = 2\n").starts_with("recipe.toml:2:")) << error_of("a = 1\na = 2\n");
  EXPECT_EQ(error_of("a = 1\nday = 1979-05-27\n"),
            "recipe.toml:2:7: error: dates and times have no meaning in a recipe");
}

TEST(TomlReader, SaysWhyAFileCannotBeRead) {
  const TemporaryFolder folder;
  folder.write("student.toml", "");
  const auto reason = [](const std::string& file) -> std::string {
    try {
      kd::read_toml_file(file);
    } catch (const kd::RecipeError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(reason("/"), "/: error: this is a folder, and a recipe is a TOML file");
  EXPECT_TRUE(reason("no/such/recipe.toml").starts_with("no/such/recipe.toml: error: there is no folder no/such\n"));
  const std::string missing = (folder.path / "studnet.toml").string();
  EXPECT_EQ(reason(missing), missing + ": error: there is no such file\n    hint: did you mean 'student.toml'?");
}

TEST(Location, SaysWhereAValueWasWritten) {
  const auto source = std::make_shared<const std::string>("a.toml");
  EXPECT_EQ(kd::Location().to_string(), "");
  EXPECT_EQ((kd::Location{source, 3, 4}).to_string(), "a.toml:3:4");
  EXPECT_EQ((kd::Location{source, 0, 0}).to_string(), "a.toml");
  EXPECT_EQ((kd::Location{std::make_shared<const std::string>("override 'a=1'"), 1, 3}).to_string(),
            "override 'a=1':3");
}

}  // namespace
