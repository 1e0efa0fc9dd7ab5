// toml_reader.h on toml++. A copied toml++ node loses its place, so each is converted where it stands.
#include "recipe/toml_reader.h"

#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>

#include "kd/diagnostics.h"

namespace kd {
namespace {

struct Source {
  std::shared_ptr<const std::string> name;
  int lines_before = 0;  ///< what was put before the text that locations count from
};

Location locate(const toml::source_region& region, const Source& source) {
  return {source.name, static_cast<int>(region.begin.line) - source.lines_before,
          static_cast<int>(region.begin.column)};
}

Value convert(const toml::node& node, const Source& source) {
  Value value;
  if (const toml::table* table = node.as_table()) {
    Value::Table members;
    for (const auto& [key, child] : *table) {
      members.push_back({std::string(key.str()), locate(key.source(), source), convert(child, source)});
    }
    // toml++ iterates in key order; a reader expects the order of the file.
    std::stable_sort(members.begin(), members.end(), [](const Member& a, const Member& b) {
      return std::pair(a.key_location.line, a.key_location.column) <
             std::pair(b.key_location.line, b.key_location.column);
    });
    value = Value(std::move(members));
  } else if (const toml::array* array = node.as_array()) {
    Value::List items;
    for (const toml::node& child : *array) items.push_back(convert(child, source));
    value = Value(std::move(items));
  } else if (const auto* text = node.as_string()) {
    value = Value(text->get());
  } else if (const auto* integer = node.as_integer()) {
    value = Value(static_cast<std::int64_t>(integer->get()));
  } else if (const auto* number = node.as_floating_point()) {
    value = Value(number->get());
  } else if (const auto* boolean = node.as_boolean()) {
    value = Value(boolean->get());
  } else {
    throw RecipeError(locate(node.source(), source), "dates and times have no meaning in a recipe");
  }
  value.location = locate(node.source(), source);
  return value;
}

/// "write type = "kd"" for a line with an unquoted word as its value, which is what most parse errors are about.
std::string quoting_hint(std::string_view text, int number) {
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int i = 0; i < number; ++i) {
    if (!std::getline(lines, line)) return "";
  }
  static const std::regex assignment(R"(([A-Za-z0-9_-]+)\s*=\s*([A-Za-z_][A-Za-z0-9_./-]*))");
  for (std::sregex_iterator match(line.begin(), line.end(), assignment), end; match != end; ++match) {
    const std::string word = (*match)[2];
    if (word == "true" || word == "false" || word == "inf" || word == "nan") continue;
    return "a string needs quotes: " + (*match)[1].str() + " = \"" + word + "\"";
  }
  return "";
}

Value read_document(std::string_view text, const Source& source) {
  try {
    const toml::table table = toml::parse(text, *source.name);
    Value value = convert(table, source);
    value.location = {source.name, 0, 0};
    return value;
  } catch (const toml::parse_error& error) {
    const auto line = static_cast<int>(error.source().begin.line);
    throw RecipeError(locate(error.source(), source), std::string(error.description()), quoting_hint(text, line));
  }
}

}  // namespace

Value read_toml(std::string_view text, const std::string& source) {
  return read_document(text, {std::make_shared<const std::string>(source)});
}

namespace {

/// Why a file cannot be read, with the recipe of its folder that was probably meant.
[[noreturn]] void refuse_file(const std::filesystem::path& file) {
  const Location place{std::make_shared<const std::string>(file.string()), 0, 0};
  if (std::filesystem::is_directory(file)) throw RecipeError(place, "this is a folder, and a recipe is a TOML file");
  if (std::filesystem::exists(file)) throw RecipeError(place, "this file cannot be read");
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(folder))
    throw RecipeError(place, "there is no folder " + folder.string(),
                      "the current folder is " + std::filesystem::current_path().string());
  std::vector<std::string> names;
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    if (item.path().extension() == ".toml") names.push_back(item.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  throw RecipeError(place, "there is no such file", name_hint(file.filename().string(), names, "recipes there"));
}

}  // namespace

Value read_toml_file(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream || std::filesystem::is_directory(file)) refuse_file(file);
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  return read_toml(text, file);
}

Value Value::parse(std::string_view text) {
  // A bare value is no TOML document. The newline inside the list keeps the columns those of `text`.
  const Source source{std::make_shared<const std::string>("value"), 1};
  const Value document = read_document("value = [\n" + std::string(text) + "\n]", source);
  const List& list = document.find("value")->as_list();
  if (list.size() != 1)
    throw RecipeError({source.name, 0, 0}, "one TOML value is wanted, and this is not: " + std::string(text));
  return list.front();
}

}  // namespace kd
