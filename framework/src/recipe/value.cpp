// kd::Value: copies, look-ups, and the TOML text of a value.
#include "kd/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kd {

std::string Location::to_string() const {
  if (!source) return "";
  if (source->starts_with("override ")) return fmt::format("{}:{}", *source, column);
  return line == 0 ? *source : fmt::format("{}:{}:{}", *source, line, column);
}

Value::Value() = default;
Value::Value(bool value) : data_(value) {}
Value::Value(int value) : data_(static_cast<std::int64_t>(value)) {}
Value::Value(std::int64_t value) : data_(value) {}
Value::Value(double value) : data_(value) {}
Value::Value(const char* value) : data_(std::string(value)) {}
Value::Value(std::string value) : data_(std::move(value)) {}
Value::Value(List value) : data_(std::move(value)) {}
Value::Value(Table value) : data_(std::move(value)) {}
Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value&) = default;
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

double Value::as_number() const { return is_int() ? static_cast<double>(as_int()) : std::get<double>(data_); }

const Value* Value::find(std::string_view key) const {
  if (!is_table()) return nullptr;
  for (const Member& member : as_table()) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

Value* Value::find(std::string_view key) { return const_cast<Value*>(std::as_const(*this).find(key)); }

void Value::set(std::string_view key, Value value, Location key_location) {
  if (!is_table()) data_ = Table{};
  for (Member& member : as_table()) {
    if (member.key == key) {
      member.value = std::move(value);
      member.key_location = std::move(key_location);
      return;
    }
  }
  as_table().push_back({std::string(key), std::move(key_location), std::move(value)});
}

void Value::erase(std::string_view key) {
  if (is_table()) std::erase_if(as_table(), [key](const Member& member) { return member.key == key; });
}

std::string Value::kind_name() const {
  if (is_null()) return "nothing";
  if (is_bool()) return "a boolean";
  if (is_int()) return "an integer";
  if (is_number()) return "a number";
  if (is_string()) return "a string";
  return is_list() ? "a list" : "a table";
}

namespace {

std::string quote(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      result += fmt::format("\\u{:04X}", static_cast<int>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string number_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", number);
  // "1e-05" is a number in TOML, "1" would come back as an integer.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

bool is_bare_key(std::string_view key) {
  const auto bare = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !key.empty() && std::all_of(key.begin(), key.end(), bare);
}

}  // namespace

std::string Value::to_toml() const {
  if (is_bool()) return as_bool() ? "true" : "false";
  if (is_int()) return fmt::format("{}", as_int());
  if (is_number()) return number_text(as_number());
  if (is_string()) return quote(as_string());
  std::string text;
  if (is_list()) {
    for (const Value& item : as_list()) text += (text.empty() ? "" : ", ") + item.to_toml();
    return "[" + text + "]";
  }
  if (is_null()) return "";
  for (const Member& member : as_table()) {
    if (member.value.is_null()) continue;
    text += (text.empty() ? "" : ", ") + toml_key(member.key) + " = " + member.value.to_toml();
  }
  return text.empty() ? "{}" : "{ " + text + " }";
}

std::string toml_key(std::string_view key) { return is_bare_key(key) ? std::string(key) : quote(key); }

bool Value::operator==(const Value& other) const { return data_ == other.data_; }

}  // namespace kd
