// The tree a recipe becomes: plain values in source order, each of which knows where it was written.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "kd/api.h"

namespace kd {

/// Where a value was written. `source` is a file name, or `override 'key=value'`; a value made in code has none.
struct KD_API Location {
  std::shared_ptr<const std::string> source;
  int line = 0;
  int column = 0;

  /// "recipes/ekd.toml:12:5", or "override 'train.epochs=5':7" (one line, so only the column counts).
  std::string to_string() const;
};

class Value;

/// A value under its key. `key_location` is where the key stands, which is what an unknown key is reported at.
struct Member;

/// Null, a boolean, an integer, a number, a string, a list, or a table in source order.
class KD_API Value {
 public:
  using List = std::vector<Value>;
  using Table = std::vector<Member>;

  Value();
  Value(bool value);          // NOLINT(google-explicit-constructor): literals read as they are written
  Value(int value);           // NOLINT
  Value(std::int64_t value);  // NOLINT
  Value(double value);        // NOLINT
  Value(const char* value);   // NOLINT
  Value(std::string value);   // NOLINT
  Value(List value);          // NOLINT
  Value(Table value);         // NOLINT
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  ~Value();

  /// Reads one TOML value, such as `[1, 2]` or `{ type = "kd" }`. Throws kd::RecipeError with its place in `text`.
  static Value parse(std::string_view text);

  bool is_null() const { return std::holds_alternative<std::monostate>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<std::int64_t>(data_); }
  /// True for integers also: 4 is a fine temperature.
  bool is_number() const { return is_int() || std::holds_alternative<double>(data_); }
  bool is_string() const { return std::holds_alternative<std::string>(data_); }
  bool is_list() const { return std::holds_alternative<List>(data_); }
  bool is_table() const { return std::holds_alternative<Table>(data_); }

  // Each throws std::bad_variant_access where the value is of another kind.
  bool as_bool() const { return std::get<bool>(data_); }
  std::int64_t as_int() const { return std::get<std::int64_t>(data_); }
  double as_number() const;
  const std::string& as_string() const { return std::get<std::string>(data_); }
  const List& as_list() const { return std::get<List>(data_); }
  List& as_list() { return std::get<List>(data_); }
  const Table& as_table() const { return std::get<Table>(data_); }
  Table& as_table() { return std::get<Table>(data_); }

  /// The member of a table under `key`; null pointer where there is none or this is no table.
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
  /// Replaces the member under `key` in its place, or appends it.
  void set(std::string_view key, Value value, Location key_location = {});
  void erase(std::string_view key);

  /// "a table", "an integer", … for messages.
  std::string kind_name() const;
  /// One line of TOML. Numbers keep every digit, so reading the text back gives the same value.
  std::string to_toml() const;

  /// Equal content; where it was written does not count.
  bool operator==(const Value& other) const;

  Location location;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Table> data_;
};

struct Member {
  std::string key;
  Location key_location;
  Value value;

  bool operator==(const Member& other) const { return key == other.key && value == other.value; }
};

/// `key` as TOML writes it: bare where that is allowed, quoted elsewhere.
KD_API std::string toml_key(std::string_view key);

}  // namespace kd
