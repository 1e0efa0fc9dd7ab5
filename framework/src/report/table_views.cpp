// table_views.h
#include "report/table_views.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "kd/diagnostics.h"

namespace kd {
namespace {

constexpr std::array<std::pair<ColumnType, const char*>, 5> kTypeNames{{{ColumnType::kText, "text"},
                                                                        {ColumnType::kCount, "count"},
                                                                        {ColumnType::kShare, "share"},
                                                                        {ColumnType::kNumber, "number"},
                                                                        {ColumnType::kSeconds, "seconds"}}};

const char* name_of(ColumnType type) {
  return std::find_if(kTypeNames.begin(), kTypeNames.end(), [&](const auto& one) { return one.first == type; })->second;
}

/// A rounded −0 is a 0 to everybody.
std::string rounded(double number, int decimals) {
  const double smallest = 0.5 * std::pow(10.0, -decimals);
  return fmt::format("{:.{}f}", std::abs(number) < smallest ? 0.0 : number, decimals);
}

/// Letters of UTF-8, which a terminal shows in one cell each.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t width, bool left) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return left ? text + space : space + text;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::string quoted(const std::string& text) { return '"' + replaced(text, "\"", "\"\"") + '"'; }

std::string latex(std::string text) {
  text = replaced(std::move(text), "\\", "\\textbackslash ");
  for (const char* c : {"&", "%", "$", "#", "_", "{", "}"}) text = replaced(std::move(text), c, std::string("\\") + c);
  text = replaced(replaced(std::move(text), "–", "--"), "±", "$\\pm$");
  text = replaced(std::move(text), "Δ", "$\\Delta$");
  // A hyphen before a number is a minus sign.
  for (std::size_t at = 0; (at = text.find('-', at)) != std::string::npos; ++at) {
    const bool begins = at == 0 || text[at - 1] == ' ' || text[at - 1] == '[';
    const bool number = at + 1 < text.size() && text[at + 1] >= '0' && text[at + 1] <= '9';
    if (!begins || !number) continue;
    text.replace(at, 1, "$-$");
    at += 2;
  }
  return text;
}

/// What people are shown: headings, then rows, column by column as far as it is shown.
std::vector<std::vector<std::string>> shown_lines(const Table& table) {
  std::vector<std::vector<std::string>> lines(1 + table.rows.size());
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    if (!table.columns[c].shown) continue;
    lines[0].push_back(heading(table.columns[c]));
    for (std::size_t r = 0; r < table.rows.size(); ++r)
      lines[r + 1].push_back(shown(table.rows[r][c], table.columns[c].type));
  }
  return lines;
}

std::vector<bool> shown_to_the_left(const Table& table) {
  std::vector<bool> left;
  for (const Column& column : table.columns) {
    if (column.shown) left.push_back(column.type == ColumnType::kText);
  }
  return left;
}

}  // namespace

double Cell::number() const {
  const double* number = std::get_if<double>(&value_);
  return number == nullptr ? std::numeric_limits<double>::quiet_NaN() : *number;
}

std::string heading(const Column& column) {
  return (column.title.empty() ? column.name : column.title) + (column.type == ColumnType::kShare ? " %" : "");
}

std::string shown(const Cell& cell, ColumnType type) {
  if (cell.is_text()) return cell.text();
  const double number = cell.number();
  if (std::isnan(number)) return type == ColumnType::kText ? "" : "–";
  switch (type) {
    case ColumnType::kCount:
      return fmt::format("{:.0f}", number);
    case ColumnType::kShare:
      return rounded(100 * number, 2);
    case ColumnType::kSeconds:
      return rounded(number, 1);
    default:
      return rounded(number, 4);
  }
}

std::string to_console(const Table& table) {
  const auto lines = shown_lines(table);
  const std::vector<bool> left = shown_to_the_left(table);
  std::vector<std::size_t> widths(left.size());
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  }
  std::string text;
  for (const auto& line : lines) {
    std::string row;
    for (std::size_t i = 0; i < line.size(); ++i) row += (i == 0 ? "" : "  ") + padded(line[i], widths[i], left[i]);
    text += row.substr(0, row.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

std::string to_csv(const Table& table) {
  std::string text;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const std::string& name = table.columns[c].name;
    text += (c == 0 ? "" : ",") + (name.find_first_of(",\"\n") == std::string::npos ? name : quoted(name));
  }
  text += '\n';
  for (const Row& row : table.rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c > 0) text += ',';
      if (row[c].is_text()) {
        text += quoted(row[c].text());
      } else if (!std::isnan(row[c].number())) {
        text += fmt::format("{}", row[c].number());
      }
    }
    text += '\n';
  }
  return text;
}

std::string to_json(const Table& table) {
  nlohmann::ordered_json columns = nlohmann::json::array(), rows = nlohmann::json::array();
  for (const Column& column : table.columns) {
    columns.push_back({{"name", column.name}, {"type", name_of(column.type)}, {"title", column.title}});
    if (!column.shown) columns.back()["shown"] = false;
  }
  for (const Row& row : table.rows) {
    nlohmann::ordered_json cells = nlohmann::json::array();
    for (const Cell& cell : row) {
      if (cell.is_text()) {
        cells.push_back(cell.text());
      } else {
        cells.push_back(std::isfinite(cell.number()) ? nlohmann::ordered_json(cell.number()) : nullptr);
      }
    }
    rows.push_back(std::move(cells));
  }
  const nlohmann::ordered_json json{
      {"name", table.name}, {"caption", table.caption}, {"columns", columns}, {"rows", rows}};
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

std::string to_markdown(const Table& table) {
  std::string text;
  const auto lines = shown_lines(table);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    text += '|';
    for (const std::string& cell : lines[i]) text += ' ' + replaced(cell, "|", "\\|") + " |";
    text += '\n';
    if (i > 0) continue;
    text += '|';
    for (const bool left : shown_to_the_left(table)) text += left ? "---|" : "---:|";
    text += '\n';
  }
  return text;
}

std::string html(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    safe += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : std::string(1, c);
  }
  return safe;
}

std::string to_html(const Table& table) {
  const auto lines = shown_lines(table);
  const std::vector<bool> left = shown_to_the_left(table);
  std::string text = fmt::format("<table>\n<caption>{}</caption>\n", html(table.caption));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const char* cell = i == 0 ? "th" : "td";
    text += i == 0 ? "<thead><tr>" : i == 1 ? "<tbody>\n<tr>" : "<tr>";
    for (std::size_t c = 0; c < lines[i].size(); ++c)
      text += fmt::format("<{}{}>{}</{}>", cell, left[c] ? "" : " class=\"number\"", html(lines[i][c]), cell);
    text += i == 0 ? "</tr></thead>\n" : "</tr>\n";
  }
  return text + (lines.size() > 1 ? "</tbody>\n" : "") + "</table>\n";
}

std::string to_latex(const Table& table) {
  std::string places;
  for (const bool left : shown_to_the_left(table)) places += left ? 'l' : 'r';
  std::string text = "% " + table.caption + "\n% \\usepackage{booktabs}\n\\begin{tabular}{" + places + "}\n\\toprule\n";
  const auto lines = shown_lines(table);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    for (std::size_t c = 0; c < lines[i].size(); ++c) text += (c == 0 ? "" : " & ") + latex(lines[i][c]);
    text += i == 0 ? " \\\\\n\\midrule\n" : " \\\\\n";
  }
  return text + "\\bottomrule\n\\end{tabular}\n";
}

Table table_from_json(const std::string& text, const std::filesystem::path& file) {
  try {
    const auto json = nlohmann::json::parse(text);
    Table table{.name = json.at("name"), .caption = json.at("caption"), .columns = {}, .rows = {}};
    for (const auto& column : json.at("columns")) {
      const std::string type = column.at("type");
      const auto found =
          std::find_if(kTypeNames.begin(), kTypeNames.end(), [&](const auto& one) { return type == one.second; });
      if (found == kTypeNames.end()) throw Error("there is no type of columns '" + type + "'");
      table.columns.push_back({column.at("name"), found->first, column.at("title"), column.value("shown", true)});
    }
    for (const auto& cells : json.at("rows")) {
      Row row;
      for (const auto& cell : cells) {
        if (cell.is_string()) {
          row.emplace_back(cell.get<std::string>());
        } else if (cell.is_number()) {
          row.emplace_back(cell.get<double>());
        } else {
          row.emplace_back();
        }
      }
      if (row.size() != table.columns.size()) throw Error("a row is not as wide as the table");
      table.rows.push_back(std::move(row));
    }
    return table;
  } catch (const std::exception& error) {
    throw FileError(fmt::format("{} holds no table: {}", file.string(), error.what()));
  }
}

}  // namespace kd
