// kd::Diagnostics: collected problems, and the name that was probably meant.
#include "kd/diagnostics.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <new>
#include <numeric>
#include <tuple>
#include <utility>

namespace kd {

namespace {

/// One problem per line. Stable by file of first mention, then by place: the order in which a reader meets them.
std::string text_of(const std::vector<Problem>& problems) {
  std::vector<const Problem*> sorted;
  for (const Problem& problem : problems) sorted.push_back(&problem);
  std::vector<std::string> sources;
  const auto rank = [&sources](const Problem* problem) {
    const std::string source = problem->location.source ? *problem->location.source : "";
    const auto found = std::find(sources.begin(), sources.end(), source);
    if (found != sources.end()) return found - sources.begin();
    sources.push_back(source);
    return static_cast<std::ptrdiff_t>(sources.size()) - 1;
  };
  for (const Problem* problem : sorted) rank(problem);
  std::stable_sort(sorted.begin(), sorted.end(), [&](const Problem* a, const Problem* b) {
    return std::tuple(rank(a), a->location.line, a->location.column) <
           std::tuple(rank(b), b->location.line, b->location.column);
  });
  std::string text;
  for (const Problem* problem : sorted) {
    const std::string place = problem->location.to_string();
    text += (text.empty() ? "" : "\n") + (place.empty() ? "" : place + ": ") + "error: " + problem->message;
    if (!problem->hint.empty()) text += "\n    hint: " + problem->hint;
  }
  return text;
}

}  // namespace

Error::Error(const std::string& message, ExitCode code)
    : std::runtime_error(message), problems_{{{}, message, {}}}, code_(code) {}
Error::Error(std::vector<Problem> problems, ExitCode code)
    : std::runtime_error(text_of(problems)), problems_(std::move(problems)), code_(code) {}
Error::~Error() = default;
std::string Error::text() const { return text_of(problems_); }
RecipeError::~RecipeError() = default;
FileError::~FileError() = default;

void Diagnostics::error(const Location& location, std::string message, std::string hint) {
  problems_.push_back({location, std::move(message), std::move(hint)});
  only_files_ = false;
}

void Diagnostics::add(const std::exception& error, const Location& location, const std::string& what) {
  const auto* own = dynamic_cast<const Error*>(&error);
  only_files_ &= own != nullptr && own->code() == ExitCode::kCorrupt;
  for (Problem problem : own != nullptr ? own->problems() : std::vector<Problem>{{{}, message_of(error), {}}}) {
    if (problem.message.starts_with(what)) {
      problems_.push_back(std::move(problem));
      continue;
    }
    // One cause, such as a data set that is not there, is one problem of all the stages that it stops.
    const std::string cause = ": " + problem.message;
    const bool placed = problem.location.source != nullptr;
    const auto same = std::find_if(problems_.begin(), problems_.end(), [&](const Problem& known) {
      return !placed && known.message.ends_with(cause) && known.hint == problem.hint;
    });
    if (same != problems_.end()) {
      same->message.insert(same->message.size() - cause.size(), ", " + what);
      continue;
    }
    if (!placed) problem.location = location;
    problem.message = what + cause;
    problems_.push_back(std::move(problem));
  }
}

std::string Diagnostics::to_string() const { return text_of(problems_); }

void Diagnostics::throw_if_any() const {
  if (ok()) return;
  if (only_files_) throw FileError(problems_);
  throw RecipeError(problems_);
}

namespace {

/// Edits that make one name of another, a swap of neighbours counting as one (Damerau, 1964).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  std::iota(d[0].begin(), d[0].end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string message_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return "there is not enough memory";
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error))
    return file->path1().string() + ": " + file->code().message();
  std::string message = error.what();
  for (const char* stack : {"\nException raised from ", "\nframe #"}) message = message.substr(0, message.find(stack));
  return message;
}

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// What the field also calls some of kdrun's names.
constexpr std::array<std::pair<std::string_view, std::string_view>, 18> kSynonyms{{
    {"ce", "cross_entropy"},
    {"crossentropy", "cross_entropy"},
    {"xent", "cross_entropy"},
    {"kl", "kd"},
    {"kldiv", "kd"},
    {"hinton", "kd"},
    {"logit_standardization", "kd"},
    {"dtkd", "kd"},
    {"mse", "mse_logits"},
    {"tau", "temperature"},
    {"t", "temperature"},
    {"lr_scheduler", "schedule"},
    {"step", "multistep"},
    {"onecycle", "one_cycle"},
    {"flip", "horizontal_flip"},
    {"crop", "random_crop"},
    {"bs", "batch_size"},
    {"wd", "weight_decay"},
}};

}  // namespace

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  const std::string plain = lower(name);
  const auto is_known = [&known](std::string_view wanted) {
    return std::find(known.begin(), known.end(), wanted) != known.end();
  };
  if (is_known(plain) && plain != name) return plain;
  for (const auto& [synonym, meant] : kSynonyms) {
    if (plain == synonym && is_known(meant)) return std::string(meant);
  }
  const auto shared_letters = [&plain](const std::string& candidate) {
    const auto end = std::mismatch(plain.begin(), plain.end(), candidate.begin(), candidate.end());
    return static_cast<std::size_t>(end.first - plain.begin());
  };
  std::string nearest;
  std::size_t best = std::max<std::size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(plain, candidate);
    // Of two as near, the one that begins alike: kdd is kd rather than dkd.
    const bool as_near = distance == best && shared_letters(candidate) > shared_letters(nearest);
    if (distance > best || (distance == best && (nearest.empty() || !as_near))) continue;
    best = distance;
    nearest = candidate;
  }
  // A word that only one name begins with is meant for it, as temp is, unless one letter makes another name of it.
  const auto begins = [&plain](const std::string& candidate) {
    return plain.size() > 2 && candidate.starts_with(plain);
  };
  const bool is_beginning = std::count_if(known.begin(), known.end(), begins) == 1;
  return is_beginning && best > 1 ? *std::find_if(known.begin(), known.end(), begins) : nearest;
}

std::string name_hint(std::string_view name, const std::vector<std::string>& known, std::string_view noun) {
  if (const std::string nearest = nearest_name(name, known); !nearest.empty()) return "did you mean '" + nearest + "'?";
  if (known.empty()) return "";
  std::string list;
  for (const std::string& candidate : known) list += (list.empty() ? "" : ", ") + candidate;
  return std::string(noun) + ": " + list;
}

}  // namespace kd
