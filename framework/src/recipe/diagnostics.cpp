// kd::Diagnostics: collected problems, and the name that was probably meant.
#include "kd/diagnostics.h"

#include <algorithm>
#include <new>
#include <numeric>
#include <tuple>
#include <utility>

namespace kd {

Error::Error(const std::string& message, ExitCode code) : std::runtime_error(message), code_(code) {}
Error::~Error() = default;
RecipeError::~RecipeError() = default;
FileError::~FileError() = default;

void Diagnostics::error(const Location& location, std::string message, std::string hint) {
  problems_.push_back({location, std::move(message), std::move(hint)});
}

std::string Diagnostics::to_string() const {
  std::vector<const Problem*> sorted;
  for (const Problem& problem : problems_) sorted.push_back(&problem);
  // Stable by file of first mention, then by place: the order in which a reader meets them.
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

void Diagnostics::throw_if_any() const {
  if (!ok()) throw RecipeError(to_string());
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
  std::string message = error.what();
  for (const char* stack : {"\nException raised from ", "\nframe #"}) message = message.substr(0, message.find(stack));
  return message;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  std::string nearest;
  std::size_t best = std::max<std::size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string name_hint(std::string_view name, const std::vector<std::string>& known, std::string_view noun) {
  if (const std::string nearest = nearest_name(name, known); !nearest.empty()) return "did you mean '" + nearest + "'?";
  if (known.empty()) return "";
  std::string list;
  for (const std::string& candidate : known) list += (list.empty() ? "" : ", ") + candidate;
  return std::string(noun) + ": " + list;
}

}  // namespace kd
