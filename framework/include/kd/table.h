// A table of results. What the console, CSV, JSON, Markdown, LaTeX and `kdrun compare` show of it are views of the same
// cells: shares are kept in [0, 1] and shown in percent, numbers are kept whole and shown rounded.
#pragma once

#include <concepts>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kd/api.h"

namespace kd {

enum class ColumnType {
  kText,     ///< what a row is about, such as a stage: rows of two runs that agree in all of these are the same row
  kCount,    ///< a whole number
  kShare,    ///< in [0, 1]; shown in percent
  kNumber,   ///< any other; shown with four decimals
  kSeconds,  ///< shown with one decimal
};

struct KD_API Column {
  std::string name;  ///< as files have it: "ece"
  ColumnType type = ColumnType::kText;
  std::string title = {};  ///< as people read it; empty: the name
  bool shown = true;       ///< to people; files have every column
};

/// Text, a number, or nothing: what was not measured.
class KD_API Cell {
 public:
  Cell() = default;
  Cell(std::string text) : value_(std::move(text)) {}
  Cell(const char* text) : value_(std::string(text)) {}
  template <class Number>
    requires(std::integral<Number> || std::floating_point<Number>)
  Cell(Number number) : value_(static_cast<double>(number)) {}

  bool is_text() const { return std::holds_alternative<std::string>(value_); }
  const std::string& text() const { return std::get<std::string>(value_); }
  /// NaN where there is nothing.
  double number() const;
  bool operator==(const Cell&) const = default;

 private:
  std::variant<std::monostate, std::string, double> value_;
};

using Row = std::vector<Cell>;

/// A cell as people read it; "–" where there is nothing.
KD_API std::string shown(const Cell& cell, ColumnType type);

struct KD_API Table {
  std::string name;     ///< of its file: letters, digits, '_' and '-'
  std::string caption;  ///< one line: what was measured, on which split, in what unit
  std::vector<Column> columns;
  std::vector<Row> rows;  ///< as wide as `columns`
};

}  // namespace kd
