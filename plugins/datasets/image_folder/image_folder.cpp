// Images in folders, one for each class, as torchvision's ImageFolder has them:
//   flowers/train/<class>/*.jpg and flowers/val/<class>/*.jpg, or flowers/test/…, or flowers/<class>/*.jpg alone
//   data = { type = "image_folder", path = "/home/me/flowers" }
// and augmentations that begin with "resize" or "random_resized_crop".
#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kd/dataset.h"
#include "kd/diagnostics.h"
#include "kd/image_files.h"
#include "kd/plugin.h"
#include "kd/random.h"

namespace {

namespace fs = std::filesystem;
using Files = std::vector<kd::ImageFile>;

std::string lower_ending(const fs::path& file) {
  std::string ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending;
}

/// Whether a file is meant to be an image. Those of formats that are not read are named to the user, not passed over.
bool is_meant_as_image(const fs::path& file) {
  static const std::set<std::string> endings = {".jpg", ".jpeg", ".png",  ".webp", ".bmp",
                                                ".gif", ".tif",  ".tiff", ".ppm"};
  return endings.contains(lower_ending(file));
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// The folders in a folder, by name.
std::vector<std::string> folders_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(folder)) {
    if (item.is_directory() && !is_hidden(item.path())) names.push_back(item.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The images of a class, in its folder and in those below, by name.
std::vector<std::string> images_in(const fs::path& root, const fs::path& folder) {
  std::vector<std::string> names;
  constexpr auto kOptions = fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator item(folder, kOptions), end; item != end; ++item) {
    if (is_hidden(item->path())) {
      item.disable_recursion_pending();
    } else if (!item->is_directory() && is_meant_as_image(item->path())) {
      names.push_back(item->path().lexically_relative(root).string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Takes a share of each class out of `files`, by the hash of names: the choice in a class follows from its
/// files alone.
Files take_out(Files& files, double share) {
  std::map<std::int64_t, std::vector<std::pair<std::uint64_t, std::string>>> classes;
  for (const kd::ImageFile& file : files)
    classes[file.label].emplace_back(kd::mix_bits(kd::hash_name(file.name)), file.name);
  std::set<std::string> taken;
  for (auto& [label, names] : classes) {
    std::sort(names.begin(), names.end());
    const auto count = static_cast<std::size_t>(std::ceil(share * static_cast<double>(names.size())));
    // A class of one image is trained with.
    for (std::size_t i = 0; i < std::min(count, names.size() - 1); ++i) taken.insert(names[i].second);
  }
  Files out;
  for (const kd::ImageFile& file : files) {
    if (taken.contains(file.name)) out.push_back(file);
  }
  std::erase_if(files, [&](const kd::ImageFile& file) { return taken.contains(file.name); });
  return out;
}

class ImageFolder final : public kd::DataSet {
 public:
  struct Params {
    std::string path;
    double holdout = 0.1;
    kd::OnBad on_bad = kd::OnBad::kError;
    std::vector<double> mean, deviation;

    static void schema(kd::Schema<Params>& s) {
      s.field("path", &Params::path,
              "folder with train/ and val/ or test/, each with a folder per class, or with the folders of the classes "
              "alone; a relative one is below the data root");
      s.field("holdout", &Params::holdout,
              "share of each class that is the test split, where the folder has none; by the names of the files")
          .def(0.1)
          .above(0)
          .below(1);
      s.choice("on_bad", &Params::on_bad, {{"error", kd::OnBad::kError}, {"skip", kd::OnBad::kSkip}},
               "files that are no JPEG or PNG, or damaged: named as an error, or left out and counted")
          .def("error");
      s.field("mean", &Params::mean, "of the pixels in [0, 1], by channel; the default is ImageNet's")
          .def(std::vector<double>{0.485, 0.456, 0.406});
      s.field("deviation", &Params::deviation, "of the pixels in [0, 1], by channel; the default is ImageNet's")
          .def(std::vector<double>{0.229, 0.224, 0.225});
    }
  };

  ImageFolder(const Params& params, const Context& context)
      : params_(params), folder_(context.root / params.path), say_(context.say) {
    if (!fs::is_directory(folder_)) refuse_path();
    find_splits();
  }

  kd::DataInfo info() const override {
    return {.channels = 3,
            .height = 0,
            .width = 0,
            .class_names = classes_,
            .mean = params_.mean,
            .deviation = params_.deviation};
  }
  bool has(kd::Split split) const override { return splits_.contains(split); }
  std::unique_ptr<kd::ImageReader> open(kd::Split split) const override {
    return kd::open_image_files({.what = "data set 'image_folder'",
                                 .folder = folder_,
                                 .files = splits_.at(split),
                                 .on_bad = params_.on_bad,
                                 .say = say_});
  }

 private:
  [[noreturn]] void refuse_path() const {
    const bool is_here = fs::path(params_.path).is_relative() && fs::is_directory(params_.path);
    throw kd::FileError({}, "there is no folder " + folder_.string(),
                        is_here ? "give its whole path, " + fs::absolute(params_.path).string()
                                : "'path' names the folder with your images");
  }

  void find_splits() {
    const auto subfolder = [&](const char* name) -> std::optional<std::string> {
      return fs::is_directory(folder_ / name) ? std::optional<std::string>(name) : std::nullopt;
    };
    const auto train = subfolder("train");
    const auto test = subfolder("test");
    auto validation = subfolder("val");
    if (!validation) validation = subfolder("validation");
    if (!train && (test || validation)) {
      throw kd::FileError(folder_.string() + " has a folder '" + (test ? *test : *validation) +
                          "' and none named 'train'");
    }
    const std::string first = train.value_or("");
    classes_ = folders_in(folder_ / first);
    if (classes_.empty()) throw kd::FileError((folder_ / first).string() + " has no folders: each class is one");
    splits_[kd::Split::kTrain] = files_of(first);
    // One split beside the training split is what networks are tested on, whatever its name.
    if (test || validation) splits_[kd::Split::kTest] = files_of(test ? *test : *validation);
    if (test && validation) splits_[kd::Split::kValidation] = files_of(*validation);
    if (!test && !validation) splits_[kd::Split::kTest] = take_out(splits_[kd::Split::kTrain], params_.holdout);
  }

  /// The images below a folder of classes.
  Files files_of(const std::string& split) const {
    Files files;
    for (const std::string& name : folders_in(folder_ / split)) {
      const auto found = std::find(classes_.begin(), classes_.end(), name);
      if (found == classes_.end()) {
        throw kd::FileError({}, (folder_ / split / name).string() + " is a class that the training images do not have",
                            kd::name_hint(name, classes_, "they have"));
      }
      const auto images = images_in(folder_, folder_ / split / name);
      if (images.empty()) throw kd::FileError((folder_ / split / name).string() + " has no images");
      for (const std::string& image : images) files.push_back({image, found - classes_.begin()});
    }
    return files;
  }

  const Params params_;
  const fs::path folder_;
  const std::function<void(const std::string&)> say_;
  std::vector<std::string> classes_;
  std::map<kd::Split, Files> splits_;
};

}  // namespace

KD_REGISTER(kd::DataSet, "image_folder", ImageFolder,
            "your own images: a folder per class, JPEG and PNG of any size, with or without a split")
