// kdrun man: the manual page, made of the commands as --help shows them.
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "cli/command.h"
#include "kd/api.h"

namespace kd::cli {
namespace {

/// The code point at `at` of UTF-8 text, behind which `at` is moved.
unsigned next_letter(std::string_view text, std::size_t& at) {
  const auto first = static_cast<unsigned char>(text[at++]);
  if (first < 0x80) return first;
  unsigned letter = first >= 0xf0 ? first & 0x07U : first >= 0xe0 ? first & 0x0fU : first & 0x1fU;
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U)
    letter = letter << 6U | (static_cast<unsigned char>(text[at++]) & 0x3fU);
  return letter;
}

/// Text as troff reads it. Its quotes and dashes are those that can be typed, so that examples can be copied.
std::string escaped(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const bool begins_line = result.empty() || result.back() == '\n';
    const unsigned letter = next_letter(text, at);
    if (begins_line && (letter == '.' || letter == '\'')) result += "\\&";  // would be a request
    if (letter == '\\') {
      result += "\\e";
    } else if (letter == '-') {
      result += "\\-";
    } else if (letter == '\'') {
      result += "\\(aq";
    } else if (letter == '`') {
      result += "\\(ga";
    } else if (letter == '~') {
      result += "\\(ti";
    } else if (letter == '^') {
      result += "\\(ha";
    } else if (letter == 0x2026) {
      result += "...";
    } else if (letter < 0x80) {
      result += static_cast<char>(letter);
    } else {
      result += fmt::format("\\[u{:04X}]", letter);
    }
  }
  return result;
}

std::string bold(std::string_view text) { return "\\fB" + escaped(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + escaped(text) + "\\fR"; }

std::string full_name(const CLI::App& command) {
  return command.get_parent() == nullptr ? command.get_name()
                                         : full_name(*command.get_parent()) + " " + command.get_name();
}

/// "kdrun eval run [options]"
std::string usage(const CLI::App& command) {
  std::string text = bold(full_name(command));
  bool options = false;
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) {
      options = true;
      continue;
    }
    const std::string name = italic(option->get_name(true)) + (option->get_items_expected_max() > 1 ? " ..." : "");
    text += option->get_required() ? " " + name : " [" + name + "]";
  }
  return text + (options ? " [" + italic("options") + "]" : "");
}

/// "--sort TEXT:{recipe,run}"
std::string signature(const CLI::Option& option) {
  if (option.get_positional()) return italic(option.get_name(true));
  std::string text;
  for (const std::string& name : option.get_snames()) text += bold("-" + name) + ", ";
  for (const std::string& name : option.get_lnames()) text += bold("--" + name) + ", ";
  text.resize(text.size() - 2);
  return option.get_type_size() == 0 ? text : text + " " + italic(option.get_type_name());
}

std::string description(const CLI::Option& option) {
  const std::string value = option.get_default_str();
  return escaped(option.get_description() + (value.empty() ? "" : " (default " + value + ")"));
}

/// "Examples:\n  kdrun list": lines that are indented are kept as they are.
std::string footer(const std::string& text) {
  std::string result;
  bool kept = false;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    const bool keep = line.starts_with(' ');
    if (keep != kept) result += keep ? ".RS 4\n.nf\n" : ".fi\n.RE\n";
    if (!keep) result += ".PP\n";
    kept = keep;
    result += escaped(line.substr(std::min(line.find_first_not_of(' '), line.size()))) + "\n";
    begin = end + 1;
  }
  return result + (kept ? ".fi\n.RE\n" : "");
}

std::vector<const CLI::App*> shown_commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::string section(const CLI::App& command) {
  std::string text = fmt::format(".SS {}\n{}\n.PP\n{}\n", escaped(full_name(command)), usage(command),
                                 escaped(command.get_description()));
  for (const CLI::Option* option : command.get_options())
    text += fmt::format(".TP\n{}\n{}\n", signature(*option), description(*option));
  text += footer(command.get_footer());
  for (const CLI::App* below : shown_commands(command)) text += section(*below);
  return text;
}

constexpr const char* kEnd = R"(.SH EXIT STATUS
.TP
0
ok
.TP
1
the run failed
.TP
2
wrong usage, or a wrong recipe
.TP
3
a loss was not finite
.TP
4
a missing, corrupt or mismatched file
.TP
75
stopped by a signal at a checkpoint; the same command goes on
.TP
130
interrupted twice
.SH ENVIRONMENT
.TP
\fBKD_DATA\fR
where the data sets are; else \fI\(ti/.cache/kdrun/data\fR
.TP
\fBKDRUN_PLUGIN_PATH\fR
more folders with plugins, with colons between them
.TP
\fBXDG_CACHE_HOME\fR
where what can be had again is kept; else \fI\(ti/.cache\fR
)";

std::string man_page(const CLI::App& app) {
  std::string text =
      fmt::format(".TH KDRUN 1 \"\" \"kdrun {}\" \"User Commands\"\n.nh\n.ad l\n.SH NAME\nkdrun \\- {}\n.SH SYNOPSIS\n",
                  KD_VERSION, "knowledge distillation from recipes");
  text += bold("kdrun") + " " + italic("recipe") + " [" + italic("overrides") + " ...] [" + italic("options") + "]\n";
  for (const CLI::App* command : shown_commands(app)) text += ".br\n" + usage(*command) + "\n";
  text += ".SH DESCRIPTION\n" + footer(app.get_description()) + footer(app.get_footer());
  for (const CLI::Option* option : app.get_options())
    text += fmt::format(".TP\n{}\n{}\n", signature(*option), description(*option));
  text += ".SH COMMANDS\n";
  for (const CLI::App* command : shown_commands(app)) text += section(*command);
  return text + kEnd;
}

}  // namespace

void add_man(CLI::App& app) {
  CLI::App* command = app.add_subcommand("man", "print this program's manual page, as man reads it");
  command->callback([&app] { fmt::print("{}", man_page(app)); });
}

}  // namespace kd::cli
