// report.h
#include "report/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "files/atomic_file.h"
#include "files/json_text.h"
#include "kd/diagnostics.h"
#include "report/assets.h"
#include "report/compare.h"
#include "report/figure_views.h"
#include "report/report_figures.h"
#include "report/run_set.h"
#include "report/table_views.h"

namespace kd {
namespace {

/// What pictures of analyses may take of a report; those beyond it are named with their files.
constexpr std::size_t kMostPictureBytes = 2'200'000;
/// What a student gains is told in words for so many settings, and as a table for more.
constexpr std::size_t kMostAnswers = 3;
/// Tables with more rows begin closed.
constexpr std::size_t kMostOpenRows = 24;

/// Text that says in an address what `svg` says: as it is, but for what ends or changes an address.
std::string picture_address(const std::string& svg) {
  std::string text = "data:image/svg+xml,";
  for (const char c : svg) {
    switch (c) {
      case '%':
        text += "%25";
        break;
      case '#':
        text += "%23";
        break;
      case '\'':
        text += "%27";
        break;
      case '&':
        text += "%26";
        break;
      case '\n':
        text += ' ';
        break;
      default:
        text += c;
    }
  }
  return text;
}

std::string base64(const std::string& bytes) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k)
      word = word << 8 | (i + k < bytes.size() ? static_cast<std::uint8_t>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : letters[word >> (18 - 6 * k) & 63];
  }
  return text;
}

/// Whether every mark of a figure is a curve: then scripts draw it as a chart.
bool is_chart(const nlohmann::json& figure) {
  const nlohmann::json panels = list_member(figure, "panels");
  return !panels.empty() && std::all_of(panels.begin(), panels.end(), [](const nlohmann::json& panel) {
    const nlohmann::json marks = list_member(panel, "marks");
    return !marks.empty() && std::all_of(marks.begin(), marks.end(), [](const nlohmann::json& mark) {
      return mark.is_object() && mark.contains("curve");
    });
  });
}

std::string figure_html(const std::string& svg, const std::string& json, bool smooth) {
  const auto data = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  const std::string title = text_member(data, "title");
  const bool chart = is_chart(data);
  std::string text =
      fmt::format("<figure{}{}>\n<figcaption>{}</figcaption>\n<img alt=\"{}\" decoding=\"async\" src='{}'>\n",
                  chart ? " data-chart=\"yes\"" : "", chart && smooth ? " data-smooth=\"yes\"" : "", html(title),
                  html(title), picture_address(shorten_numbers(svg)));
  if (chart) {
    // A script element ends at the first "</script", whatever it stands in.
    std::string safe = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    for (std::size_t at = 0; (at = safe.find("</", at)) != std::string::npos; at += 3) safe.replace(at, 2, "<\\/");
    text += "<script type=\"application/json\">" + safe + "</script>\n";
  }
  return text + "</figure>\n";
}

std::string figure_html(const Figure& figure, bool smooth = false) {
  return figure_html(to_svg(figure), to_json(figure), smooth);
}

std::string table_html(const Table& table) {
  const std::string text = "<div class=\"scroll\">\n" + to_html(table) + "</div>\n";
  if (table.rows.size() <= kMostOpenRows) return text;
  return fmt::format("<details><summary>{} ({} rows)</summary>\n{}</details>\n", html(table.caption), table.rows.size(),
                     text);
}

nlohmann::json facts_of(const FinishedRun& run) {
  return nlohmann::json::parse(read_text(run.folder / "run.json"), nullptr, /*allow_exceptions=*/false);
}

/// A page of sections, and the list of them at its top.
class Page {
 public:
  Page(const RunSet& set, std::vector<std::filesystem::path> folders) : set_(set), folders_(std::move(folders)) {
    for (const RunGroup& group : set_.groups) {
      for (const FinishedRun& run : group.runs) facts_.push_back(facts_of(run));
    }
  }

  std::string make() {
    add_results();
    add_sweep();
    add_curves();
    add_analyses();
    add_augmentations();
    add_facts();
    return head() + body_ + foot();
  }

 private:
  const FinishedRun& first() const { return set_.groups.front().runs.front(); }

  std::string title() const {
    const std::string given = text_member(facts_.front(), "title");
    if (recipes().size() > 1) return fmt::format("{}", fmt::join(recipes(), ", "));
    return given.empty() ? first().recipe : given;
  }

  std::set<std::string> recipes() const {
    std::set<std::string> all;
    for (const RunGroup& group : set_.groups) all.insert(group.runs.front().recipe);
    return all;
  }

  void begin_section(const std::string& id, const std::string& name) {
    sections_.emplace_back(id, name);
    body_ += fmt::format("<h2 id=\"{}\">{}</h2>\n", id, html(name));
  }

  std::size_t count_runs() const { return facts_.size(); }

  std::set<std::string> seeds() const {
    std::set<std::string> all;
    for (const RunGroup& group : set_.groups) {
      for (const FinishedRun& run : group.runs) all.insert(run.seed);
    }
    return all;
  }

  std::string head() const {
    std::string text =
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n";
    text += fmt::format("<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<h1>{}</h1>\n", html(title()),
                        report_style(), html(title()));
    const bool one = recipes().size() == 1;
    text += fmt::format("<p class=\"lead\">{} of recipe{} <code>{}</code>{}{}, seed {}{}; {}</p>\n",
                        count_runs() == 1 ? "one run" : fmt::format("{} runs", count_runs()), one ? "" : "s",
                        html(fmt::format("{}", fmt::join(recipes(), ", "))), one ? html(profile_text()) : "",
                        one ? html(data_text()) : "", fmt::join(seeds(), ", "),
                        set_.groups.size() > 1 ? fmt::format(", {} settings", set_.groups.size()) : "",
                        html(text_member(facts_.front(), "started")));
    text += "<nav>";
    for (const auto& [id, name] : sections_) text += fmt::format("<a href=\"#{}\">{}</a>", id, html(name));
    return text + "</nav>\n";
  }

  /// A profile may train on something else than the recipe's title says.
  std::string profile_text() const {
    const nlohmann::json arguments = list_member(facts_.front(), "arguments");
    for (std::size_t i = 0; i + 1 < arguments.size(); ++i) {
      if (arguments[i] == "--profile" && arguments[i + 1].is_string())
        return ", profile " + arguments[i + 1].get<std::string>();
    }
    return "";
  }

  std::string data_text() const {
    const Value* data = first().settings.find("data");
    const Value* type = data == nullptr ? nullptr : data->find("type");
    return type == nullptr || !type->is_string() ? "" : ", data " + type->as_string();
  }

  static std::string foot() {
    return fmt::format(
        "<footer>Made by kdrun {}. This file holds everything that it shows. Charts: Chart.js, MIT "
        "licence.</footer>\n<script>{}</script>\n<script>\n{}</script>\n</body>\n</html>\n",
        KD_VERSION, chart_script(), report_script());
  }

  // ---- what came out

  void add_results() {
    begin_section("results", "Results");
    for (const std::string& warning : warnings()) body_ += "<p class=\"warning\">" + html(warning) + "</p>\n";
    add_gains();
    Comparison all = compare(set_, {});
    show_repeats_once(all, set_.groups.size());
    body_ += table_html(readable(all));
    for (const std::string& note : all.notes) body_ += "<p class=\"lead\">" + html(note) + "</p>\n";
    if (has_table("published")) add_table("Beside what was published", "published");
    Comparison top1 = compare(set_, {.metrics = {"top1"}});
    show_repeats_once(top1, set_.groups.size());
    if (const auto figure = seed_figure(top1)) body_ += "<div class=\"figures\">\n" + figure_html(*figure) + "</div>\n";
  }

  bool has_table(const std::string& name) const {
    for (const RunGroup& group : set_.groups) {
      for (const FinishedRun& run : group.runs) {
        if (std::filesystem::is_regular_file(run.folder / "analysis" / (name + ".json"))) return true;
      }
    }
    return false;
  }

  /// The networks that learn from others, each against the same network trained on labels alone.
  void add_gains() {
    std::set<std::pair<std::string, std::string>> pairs;  // student and control
    for (const auto& facts : facts_) {
      for (const auto& stage : list_member(facts, "stages")) {
        for (const auto& network : list_member(stage, "networks")) {
          const std::string control = text_member(network, "control");
          if (!control.empty())
            pairs.emplace(text_member(stage, "stage") + "/" + text_member(network, "name"), control);
        }
      }
    }
    for (const auto& [student, control] : pairs) {
      if (set_.groups.size() > kMostAnswers) {
        Table table = readable(compare(set_, {.metrics = {"top1"}, .stage = student, .baseline = control}));
        table.caption = fmt::format("{} against {}: {}", plain(student), control, table.caption);
        body_ += table_html(table);
        continue;
      }
      const Comparison compared =
          compare(set_, {.metrics = {"top1", "ece", "nll"}, .stage = student, .baseline = control});
      for (const ComparedRow& row : compared.rows) add_gain(student, control, row);
    }
  }

  void add_gain(const std::string& student, const std::string& control, const ComparedRow& row) {
    const auto& top1 = row.numbers[0].difference;
    if (!top1 || top1->count == 0) return;
    const auto interval = interval_of(*top1);
    std::string text = fmt::format("<b>{}</b> against {}{}: {:+.2f} points of top-1", html(plain(student)),
                                   html(control), html(setting_text(row.group)), 100 * top1->mean);
    if (interval) {
      const bool sure = interval->low > 0 || interval->high < 0;
      const auto needed = pairs_needed(top1->mean, top1->deviation);
      text += fmt::format(", 95 % interval [{:+.2f}, {:+.2f}] over {} seeds: {}", 100 * interval->low,
                          100 * interval->high, top1->count, sure ? "the sign is sure" : "it could be nothing");
      if (!sure)
        text += needed ? fmt::format("; a difference of this size wants about {} seeds", *needed)
                       : std::string("; no number of seeds that anybody would train shows a difference of this size");
    } else {
      text += " in one seed";
    }
    const auto &ece = row.numbers[1].difference, &nll = row.numbers[2].difference;
    if (ece && nll) {
      text += fmt::format(". Calibration error {:.4f} ({:+.4f}), NLL {:.4f} ({:+.4f})", row.numbers[1].spread.mean,
                          ece->mean, row.numbers[2].spread.mean, nll->mean);
    }
    body_ += "<p class=\"answer\">" + text + ".</p>\n";
  }

  static std::string plain(const std::string& name) {
    return name.ends_with("/model") ? name.substr(0, name.size() - 6) : name;
  }

  std::string setting_text(std::size_t group) const {
    std::string text;
    for (std::size_t i = 0; i < set_.varied.size() && i < 6; ++i) {
      const auto found = set_.groups[group].settings.find(set_.varied[i]);
      if (found == set_.groups[group].settings.end()) continue;
      text += fmt::format("{}{} = {}", text.empty() ? " (" : ", ", set_.short_varied[i], plain_value(found->second));
    }
    return text.empty() ? "" : text + ")";
  }

  /// What a reader should know before believing a number.
  std::vector<std::string> warnings() const {
    std::vector<std::string> all;
    const std::size_t most = [&] {
      std::size_t runs = 0;
      for (const RunGroup& group : set_.groups) runs = std::max(runs, group.runs.size());
      return runs;
    }();
    if (most == 1) all.emplace_back("One seed: how much of a difference is luck cannot be told.");
    if (most == 2) all.emplace_back("Two seeds: intervals over two are very wide.");
    bool validation = false, early = false, plateau = false;
    for (const RunGroup& group : set_.groups) {
      const std::string text = group.runs.front().settings.to_toml();
      validation |= has_number_above_zero(group.runs.front().settings, "validation");
      early |= has_number_above_zero(group.runs.front().settings, "early_stopping");
      plateau |= text.find("\"plateau\"") != std::string::npos;
    }
    if (!validation && set_.groups.size() > 1) {
      all.emplace_back(
          "No validation split: whoever takes the best of these settings has chosen it by the test images, "
          "and its accuracy flatters.");
    }
    if (!validation && early)
      all.emplace_back("Training was stopped by the loss on the test split: there is no other.");
    if (!validation && plateau)
      all.emplace_back("The learning rate followed the loss on the test split: there is no other.");
    all.emplace_back("ECE and OE are over 15 bins of equal width; published numbers may have other bins.");
    return all;
  }

  static bool has_number_above_zero(const Value& value, const std::string& key) {
    if (value.is_list()) {
      return std::any_of(value.as_list().begin(), value.as_list().end(),
                         [&](const Value& item) { return has_number_above_zero(item, key); });
    }
    if (!value.is_table()) return false;
    return std::any_of(value.as_table().begin(), value.as_table().end(), [&](const Member& member) {
      return (member.key == key && member.value.is_number() && member.value.as_number() > 0) ||
             has_number_above_zero(member.value, key);
    });
  }

  // ---- over settings and epochs

  void add_sweep() {
    std::vector<Figure> figures = sweep_figures(set_, "top1");
    for (Figure& figure : sweep_figures(set_, "ece")) figures.push_back(std::move(figure));
    if (figures.empty()) return;
    begin_section("settings", "Over settings");
    body_ += "<div class=\"figures\">\n";
    for (const Figure& figure : figures) body_ += figure_html(figure);
    body_ += "</div>\n";
  }

  void add_curves() {
    std::string figures;
    const SetRecords records = read_records(set_);
    for (const auto& [split, name, title] :
         {std::tuple("test", "top1", "top-1 on the test split"), std::tuple("test", "nll", "NLL on the test split"),
          std::tuple("train", "loss", "training loss"), std::tuple("test", "ece", "ECE on the test split")}) {
      if (const auto figure = curve_figure(set_, records, split, name, title))
        figures += figure_html(*figure, /*smooth=*/true);
    }
    if (figures.empty()) return;
    begin_section("curves", "Curves");
    body_ += "<div class=\"figures\">\n" + figures + "</div>\n";
  }

  // ---- analyses

  void add_analyses() {
    std::vector<std::string> tables;
    for (const RunGroup& group : set_.groups) {
      for (const FinishedRun& run : group.runs) {
        for (const std::string& name : table_names(run.folder)) {
          const bool is_new = std::find(tables.begin(), tables.end(), name) == tables.end();
          if (is_new && name != "summary" && name != "published") tables.push_back(name);
        }
      }
    }
    // How well calibrated they are is asked first.
    std::stable_partition(tables.begin(), tables.end(),
                          [](const std::string& name) { return name.starts_with("calibration"); });
    std::string figures = analysis_figures();
    if (tables.empty() && figures.empty()) return;
    begin_section("analyses", "Analyses");
    if (!figures.empty()) {
      if (!pictures_note_.empty()) body_ += "<p class=\"lead\">" + html(pictures_note_) + "</p>\n";
      body_ += "<div class=\"figures\">\n" + figures + "</div>\n";
    }
    for (const std::string& name : tables) add_table(name, name);
  }

  /// A table of all runs under a heading; of one that no run has intact, that it is so.
  void add_table(const std::string& heading, const std::string& name) {
    try {
      const Comparison comparison = compare(set_, {.table = name});
      if (comparison.metrics.empty()) return;
      Table table = readable(comparison);
      if (!comparison.caption.empty()) table.caption = comparison.caption + "; " + table.caption;
      body_ += fmt::format("<h3>{}</h3>\n", html(heading)) + table_html(table);
    } catch (const Error& error) {
      body_ += fmt::format("<h3>{}</h3>\n<p class=\"warning\">{}</p>\n", html(heading), html(error.what()));
    }
  }

  /// Pictures of the first run of each group, as many as there is room for.
  std::string analysis_figures() {
    std::string text;
    std::size_t left_out = 0;
    for (const RunGroup& group : set_.groups) {
      const std::filesystem::path folder = group.runs.front().folder / "analysis";
      if (!std::filesystem::is_directory(folder)) continue;
      std::vector<std::filesystem::path> files;
      for (const auto& item : std::filesystem::directory_iterator(folder)) {
        if (item.path().extension() == ".svg") files.push_back(item.path());
      }
      std::sort(files.begin(), files.end());
      for (const std::filesystem::path& file : files) {
        const std::filesystem::path numbers = std::filesystem::path(file).replace_extension(".figure.json");
        const std::string figure = figure_html(
            read_text(file), std::filesystem::exists(numbers) ? read_text(numbers) : "{}", /*smooth=*/false);
        if (picture_bytes_ + figure.size() > kMostPictureBytes) {
          ++left_out;
          continue;
        }
        picture_bytes_ += figure.size();
        text += figure;
      }
    }
    if (count_runs() > set_.groups.size() && !text.empty())
      pictures_note_ = "Pictures are those of the first seed; tables are over all.";
    if (left_out > 0) pictures_note_ += fmt::format(" {} more pictures are in the runs' analysis folders.", left_out);
    return text;
  }

  void add_augmentations() {
    const std::filesystem::path file = first().folder / "augmentations.png";
    if (!std::filesystem::is_regular_file(file)) return;
    begin_section("augmentations", "What the networks see");
    body_ += fmt::format(
        "<figure><figcaption>Images as they are stored, then as the first epochs of the last stage show "
        "them</figcaption><img alt=\"augmented images\" src=\"data:image/png;base64,{}\"></figure>\n",
        base64(read_text(file)));
  }

  // ---- what was run

  void add_facts() {
    begin_section("run", "What was run");
    body_ += table_html(run_table());
    for (const RunGroup& group : set_.groups) {
      if (&group != &set_.groups.front() && set_.groups.size() > 4) continue;
      const auto facts = facts_of(group.runs.front());
      const auto given = facts.find("given");
      if (given == facts.end() || !given->is_array()) continue;
      Table table{
          .name = "given",
          .caption = "settings that are not defaults" + setting_text(group_place(group)),
          .columns = {{"setting", ColumnType::kText}, {"value", ColumnType::kText}, {"where", ColumnType::kText}},
          .rows = {}};
      for (const auto& one : *given)
        table.rows.push_back({text_member(one, "key"), text_member(one, "value"), text_member(one, "where")});
      body_ += table_html(table);
    }
    const std::filesystem::path recipe = first().folder / "recipe.toml";
    if (std::filesystem::exists(recipe))
      body_ += "<details><summary>the recipe as it was written</summary>\n<pre>" + html(read_text(recipe)) +
               "</pre></details>\n";
    body_ += "<details><summary>the recipe with every default</summary>\n<pre>" +
             html(read_text(first().folder / "resolved.toml")) + "</pre></details>\n";
    if (!set_.left_out.empty()) {
      body_ += "<h3>Left out</h3>\n<ul>\n";
      for (const LeftOutRun& run : set_.left_out)
        body_ += fmt::format("<li><code>{}</code>: {}</li>\n", html(run.folder.string()), html(run.reason));
      body_ += "</ul>\n";
    }
    add_points();
  }

  std::size_t group_place(const RunGroup& group) const { return static_cast<std::size_t>(&group - set_.groups.data()); }

  Table run_table() const {
    Table table{.name = "runs",
                .caption = "runs",
                .columns = {{"run", ColumnType::kText},
                            {"seed", ColumnType::kText},
                            {"device", ColumnType::kText},
                            {"host", ColumnType::kText},
                            {"versions", ColumnType::kText},
                            {"git", ColumnType::kText},
                            {"seconds", ColumnType::kSeconds}},
                .rows = {}};
    std::size_t i = 0;
    for (const RunGroup& group : set_.groups) {
      for (const FinishedRun& run : group.runs) {
        const nlohmann::json& facts = facts_[i++];
        const nlohmann::json versions = facts.contains("versions") ? facts["versions"] : nlohmann::json();
        double seconds = 0;
        for (const auto& stage : list_member(facts, "stages")) seconds += number_member(stage, "seconds");
        table.rows.push_back(
            {run.folder.string(), run.seed, text_member(facts, "device"),
             text_member(facts.contains("host") ? facts["host"] : nlohmann::json(), "name"),
             fmt::format("kdrun {}, LibTorch {}", text_member(versions, "kdrun"), text_member(versions, "libtorch")),
             text_member(facts, "git_commit").substr(0, 12), seconds});
      }
    }
    return table;
  }

  /// Points of a sweep that did not come to a result.
  void add_points() {
    for (const std::filesystem::path& folder : folders_) {
      if (!std::filesystem::is_regular_file(folder / "points.json")) continue;
      Table points;
      try {
        points = table_from_json(read_text(folder / "points.json"), folder / "points.json");
      } catch (const FileError&) {
        continue;  // the points are told of among what is left out
      }
      const auto status = std::find_if(points.columns.begin(), points.columns.end(),
                                       [](const Column& column) { return column.name == "status"; });
      if (status == points.columns.end()) continue;
      const auto place = status - points.columns.begin();
      std::erase_if(points.rows, [&](const Row& row) { return row[static_cast<std::size_t>(place)] == Cell("done"); });
      if (points.rows.empty()) continue;
      points.columns.resize(static_cast<std::size_t>(place) + 2);  // up to the reason
      for (Row& row : points.rows) row.resize(points.columns.size());
      points.caption = "points of the sweep without a result";
      body_ += table_html(points);
    }
  }

  const RunSet& set_;
  const std::vector<std::filesystem::path> folders_;
  std::vector<nlohmann::json> facts_;
  std::vector<std::pair<std::string, std::string>> sections_;
  std::string body_, pictures_note_;
  std::size_t picture_bytes_ = 0;
};

}  // namespace

std::string html_report(const std::vector<std::filesystem::path>& folders) {
  const RunSet set = read_runs(folders);
  return Page(set, folders).make();
}

}  // namespace kd
