// kd/image_files.h: looks at every file once on all cores, and keeps what it saw by the file's size and time, as git's
// index does.
#include "kd/image_files.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <map>
#include <span>
#include <sstream>
#include <utility>

#include "files/atomic_file.h"
#include "files/digest.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

/// The state of a file on the disk: another one means that it was written to.
struct FileState {
  std::int64_t bytes = 0, nanoseconds = 0;
  bool operator==(const FileState&) const = default;
};

/// What was seen of a file.
struct Look {
  FileState state;
  ImageSize size;
  std::string digest;   // SHA-256 of its bytes
  std::string problem;  // empty: it is an image
};

/// All 0 of a file that is not there.
FileState state_of(const std::filesystem::path& file) {
  struct stat status = {};
  if (::stat(file.c_str(), &status) != 0) return {};
  return {status.st_size, status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::span<const std::byte> as_span(const std::vector<std::uint8_t>& bytes) { return std::as_bytes(std::span(bytes)); }

/// Without the name of the file in front, which whoever lists it adds.
std::string without_name(const std::string& message, const std::string& name) {
  const std::size_t at = message.find(name + ": ");
  return at == std::string::npos ? message : message.substr(at + name.size() + 2);
}

Look look_at(const std::filesystem::path& file, const std::string& name, const FileState& state) {
  Look look{.state = state, .size = {}, .digest = {}, .problem = {}};
  try {
    const std::vector<std::uint8_t> bytes = read_data_file(file, "it is in the folder of the data set");
    look.digest = Digest().add(bytes.data(), bytes.size()).hex();
    const at::Tensor image = decode_image(as_span(bytes), name);
    look.size = {image.size(1), image.size(2), image.size(0)};
  } catch (const FileError& error) {
    look.problem = without_name(message_of(error), name);
    std::replace(look.problem.begin(), look.problem.end(), '\n', ' ');
    std::replace(look.problem.begin(), look.problem.end(), '\t', ' ');
  }
  return look;
}

std::filesystem::path cache_folder() {
  if (const char* given = std::getenv("XDG_CACHE_HOME"); given != nullptr && *given != '\0') return given;
  const char* home = std::getenv("HOME");
  return home == nullptr ? std::filesystem::path() : std::filesystem::path(home) / ".cache";
}

/// What earlier runs saw of the files of a folder. A line a file: size, time, height, width, channels, SHA-256, problem
/// and name, between tabs.
class Index {
 public:
  explicit Index(const std::filesystem::path& folder) {
    const std::string name = std::filesystem::absolute(folder).lexically_normal().string();
    file_ = cache_folder() / "kdrun" / "images" / (Digest().add(name).hex().substr(0, 16) + ".tsv");
    std::ifstream stream(file_);
    std::string line;
    if (!std::getline(stream, line) || line != kFirstLine) return;
    while (std::getline(stream, line)) read_line(line);
  }

  /// What is known of a file in this state; null for nothing.
  const Look* find(const std::string& name, const FileState& state) const {
    const auto found = looks_.find(name);
    return found != looks_.end() && found->second.state == state ? &found->second : nullptr;
  }
  void put(const std::string& name, const Look& look) {
    if (name.find_first_of("\n\t") == std::string::npos) looks_[name] = look;
  }
  void write() const {
    std::string text = std::string(kFirstLine) + "\n";
    for (const auto& [name, look] : looks_) {
      text += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", look.state.bytes, look.state.nanoseconds,
                          look.size.height, look.size.width, look.size.channels, look.digest, look.problem, name);
    }
    try {
      std::filesystem::create_directories(file_.parent_path());
      write_file(file_, text);
    } catch (const std::exception&) {
      // Without a place to keep it, the next run looks at the files again.
    }
  }

 private:
  static constexpr const char* kFirstLine = "kdrun images 1";

  void read_line(const std::string& line) {
    std::istringstream stream(line);
    std::vector<std::string> parts;
    for (std::string part; std::getline(stream, part, '\t');) parts.push_back(part);
    if (parts.size() != 8) return;
    std::int64_t numbers[5] = {};
    for (std::size_t i = 0; i < 5; ++i) {
      const auto [end, error] = std::from_chars(parts[i].data(), parts[i].data() + parts[i].size(), numbers[i]);
      if (error != std::errc()) return;
    }
    looks_[parts[7]] = {.state = {numbers[0], numbers[1]},
                        .size = {numbers[2], numbers[3], numbers[4]},
                        .digest = parts[5],
                        .problem = parts[6]};
  }

  std::filesystem::path file_;
  std::map<std::string, Look> looks_;
};

std::vector<Look> look_at_all(const ImageFilesRequest& request) {
  Index index(request.folder);
  std::vector<Look> looks(request.files.size());
  std::vector<std::size_t> unknown;
  for (std::size_t i = 0; i < request.files.size(); ++i) {
    looks[i].state = state_of(request.folder / request.files[i].name);
    const Look* known = index.find(request.files[i].name, looks[i].state);
    if (known == nullptr) {
      unknown.push_back(i);
    } else {
      looks[i] = *known;
    }
  }
  if (unknown.empty()) return looks;
  constexpr std::size_t kWorthSaying = 2000;
  if (unknown.size() >= kWorthSaying && request.say)
    request.say(fmt::format("{}: looks at {} files that it has not seen before", request.what, unknown.size()));
  at::parallel_for(0, static_cast<std::int64_t>(unknown.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      const std::size_t i = unknown[static_cast<std::size_t>(k)];
      looks[i] = look_at(request.folder / request.files[i].name, request.files[i].name, looks[i].state);
    }
  });
  for (const std::size_t i : unknown) index.put(request.files[i].name, looks[i]);
  index.write();
  return looks;
}

/// "a.jpg: is no image", one a line, and how many more there are.
std::string listed(const std::vector<std::string>& problems) {
  constexpr std::size_t kMostNamed = 10;
  std::string text;
  for (std::size_t i = 0; i < std::min(problems.size(), kMostNamed); ++i) text += "\n    " + problems[i];
  if (problems.size() > kMostNamed) text += fmt::format("\n    … and {} more", problems.size() - kMostNamed);
  return text;
}

class ImageFileReader final : public ImageReader {
 public:
  ImageFileReader(std::filesystem::path folder, std::vector<std::pair<ImageFile, Look>> files)
      : folder_(std::move(folder)), files_(std::move(files)) {
    Digest digest;
    for (const auto& [file, look] : files_) {
      labels_.push_back(file.label);
      digest.add(fmt::format("{} {} {}\n", look.digest, file.label, file.name));
    }
    fingerprint_ = digest.hex();
  }

  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string fingerprint() const override { return fingerprint_; }
  ImageSize size(std::int64_t sample) const override { return at(sample).second.size; }
  at::Tensor read(std::int64_t sample) const override {
    const auto& [file, look] = at(sample);
    const std::filesystem::path path = folder_ / file.name;
    if (state_of(path) != look.state) throw FileError(path.string() + " was changed since the run began");
    return decode_image(as_span(read_data_file(path, "it was there before")), path.string());
  }

 private:
  const std::pair<ImageFile, Look>& at(std::int64_t sample) const {
    return files_.at(static_cast<std::size_t>(sample));
  }

  std::filesystem::path folder_;
  std::vector<std::pair<ImageFile, Look>> files_;
  std::vector<std::int64_t> labels_;
  std::string fingerprint_;
};

}  // namespace

std::unique_ptr<ImageReader> open_image_files(const ImageFilesRequest& request) {
  const std::vector<Look> looks = look_at_all(request);
  std::vector<std::pair<ImageFile, Look>> good;
  std::vector<std::string> problems;
  for (std::size_t i = 0; i < looks.size(); ++i) {
    if (looks[i].problem.empty()) {
      good.emplace_back(request.files[i], looks[i]);
    } else {
      problems.push_back(fmt::format("{}: {}", request.files[i].name, looks[i].problem));
    }
  }
  if (!problems.empty()) {
    const std::string list = fmt::format("{} of {} files in {} are no images that can be read:{}", problems.size(),
                                         looks.size(), request.folder.string(), listed(problems));
    if (request.on_bad == OnBad::kError)
      throw FileError({}, fmt::format("{}: {}", request.what, list), "on_bad = \"skip\" leaves them out");
    if (request.say) request.say(fmt::format("{}: left out: {}", request.what, list));
  }
  return std::make_unique<ImageFileReader>(request.folder, std::move(good));
}

}  // namespace kd
