// A table as text: for people, for programs, for papers.
#pragma once

#include <filesystem>
#include <string>

#include "kd/table.h"

namespace kd {

/// The heading of a column as people read it: "accuracy %".
KD_API std::string heading(const Column& column);

/// Aligned columns, each line ended: text to the left, numbers to the right.
KD_API std::string to_console(const Table& table);
/// RFC 4180, with the names of columns first. Text is quoted, so that a reader knows the class "7" from a number.
KD_API std::string to_csv(const Table& table);
/// With the types of columns: what table_from_json() reads back.
KD_API std::string to_json(const Table& table);
KD_API std::string to_markdown(const Table& table);
/// A <table> with the caption; numbers have the class "number".
KD_API std::string to_html(const Table& table);
/// As HTML shows it: without markup of its own.
KD_API std::string html(const std::string& text);
/// A booktabs tabular.
KD_API std::string to_latex(const Table& table);

/// Throws FileError where `text`, of `file`, holds no table.
KD_API Table table_from_json(const std::string& text, const std::filesystem::path& file);

}  // namespace kd
