// Tables of analyses: as CSV for programs and as aligned lines for people.
#pragma once

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <string>
#include <vector>

namespace tables {

using Line = std::vector<std::string>;

/// `number` with a fixed number of decimals; `if_none` for NaN.
inline std::string format_number(double number, int decimals, const std::string& if_none) {
  if (std::isnan(number)) return if_none;
  std::ostringstream text;
  // A rounded −0 is a 0 to everybody.
  const double smallest = 0.5 * std::pow(10.0, -decimals);
  text << std::fixed << std::setprecision(decimals) << (std::abs(number) < smallest ? 0.0 : number);
  return text.str();
}

/// Text as RFC 4180 quotes it.
inline std::string quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

/// Lines under a header. The first `texts` columns say what a line is about and are quoted, so that a reader knows the
/// class "7" from a number; the others are numbers, or empty.
inline std::string csv(const std::vector<Line>& lines, std::size_t texts) {
  std::string text;
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      const bool is_text = i < texts && &line != &lines.front();
      const bool needs_quotes = is_text || line[i].find_first_of(",\"\n") != std::string::npos;
      text += (i == 0 ? "" : ",") + (needs_quotes ? quoted(line[i]) : line[i]);
    }
    text += '\n';
  }
  return text;
}

/// Lines of aligned columns, each after a line break: `left` to the left, all others to the right.
inline std::string align(const std::vector<Line>& lines, std::size_t left = 0) {
  std::vector<std::size_t> widths(lines.front().size());
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::ostringstream text;
  for (const Line& line : lines) {
    text << '\n';
    for (std::size_t i = 0; i < line.size(); ++i)
      text << "  " << (i == left ? std::left : std::right) << std::setw(static_cast<int>(widths[i])) << line[i];
  }
  return text.str();
}

}  // namespace tables
