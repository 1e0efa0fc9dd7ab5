// loaded_set.h
#include "data/loaded_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "files/digest.h"
#include "kd/plugin.h"

namespace kd {
namespace {

using Positions = std::vector<std::int64_t>;

Positions to_vector(const at::Tensor& labels) {
  const at::Tensor plain = labels.contiguous();
  const auto* begin = plain.const_data_ptr<std::int64_t>();
  return {begin, begin + plain.numel()};
}

void check_labels(const Positions& labels, const DataInfo& info, const std::string& what) {
  if (labels.empty()) throw FileError(what + " gives no images");
  for (const std::int64_t label : labels) {
    if (label < 0 || label >= info.classes())
      throw FileError(
          fmt::format("{} gives the label {}, and its classes are 0 to {}", what, label, info.classes() - 1));
  }
}

void check_info(const DataInfo& info, const std::string& what) {
  const auto refuse = [&](const std::string& why) { throw FileError(what + " has " + why); };
  if (info.channels < 1 || (!info.sizes_differ() && (info.height < 1 || info.width < 1)))
    refuse(fmt::format("images of {}×{}×{} numbers", info.channels, info.height, info.width));
  if (info.classes() < 1) refuse("no classes");
  for (const auto* statistic : {&info.mean, &info.deviation}) {
    if (statistic->empty()) continue;
    if (static_cast<std::int64_t>(statistic->size()) != info.channels)
      refuse(fmt::format("{} means or deviations for {} channels", statistic->size(), info.channels));
    if (!std::all_of(statistic->begin(), statistic->end(), [](double value) { return std::isfinite(value); }))
      refuse("a mean or deviation that is not finite");
  }
}

/// One image after another of a set that is in memory.
class MemoryReader final : public ImageReader {
 public:
  MemoryReader(const ImageSet& set, std::string fingerprint)
      : set_(set), labels_(to_vector(set.labels)), fingerprint_(std::move(fingerprint)) {}

  const Positions& labels() const override { return labels_; }
  ImageSize size(std::int64_t) const override {
    return {set_.images.size(2), set_.images.size(3), set_.images.size(1)};
  }
  at::Tensor read(std::int64_t sample) const override { return set_.images[sample]; }
  std::string fingerprint() const override { return fingerprint_; }

 private:
  ImageSet set_;
  Positions labels_;
  std::string fingerprint_;
};

std::string digest_of(const ImageSet& set) {
  const at::Tensor images = set.images.contiguous();
  const at::Tensor labels = set.labels.contiguous();
  return Digest().add(images.const_data_ptr(), images.nbytes()).add(labels.const_data_ptr(), labels.nbytes()).hex();
}

LoadedSplit load_split(const DataSet& set, Split split, const DataInfo& info, const std::string& what) {
  if (!set.has(split)) return {};
  LoadedSplit loaded;
  loaded.reader = set.open(split);
  if (loaded.reader != nullptr) {
    check_labels(loaded.reader->labels(), info, what);
    return loaded;
  }
  loaded.set = set.load(split);
  check_split(loaded.set, info, what);
  loaded.set.images = loaded.set.images.contiguous();
  loaded.reader = std::make_shared<MemoryReader>(loaded.set, digest_of(loaded.set));
  return loaded;
}

std::unique_ptr<DataSet> make_set(const SetRequest& request) {
  return make<DataSet>(request.data, {.root = request.root, .say = request.say});
}

}  // namespace

void check_split(const ImageSet& set, const DataInfo& info, const std::string& what) {
  const auto refuse = [&](const std::string& why) { throw FileError(what + " gives " + why); };
  if (!set.images.defined() || !set.labels.defined()) refuse("no images or no labels");
  if (set.images.scalar_type() != at::kByte)
    refuse(fmt::format("images of type {}, and bytes (uint8) are wanted", c10::toString(set.images.scalar_type())));
  if (set.images.dim() != 4 || set.images.size(1) != info.channels || set.images.size(2) != info.height ||
      set.images.size(3) != info.width) {
    refuse(fmt::format("images of shape {}, and its info says N×{}×{}×{}", c10::str(set.images.sizes()), info.channels,
                       info.height, info.width));
  }
  if (set.labels.scalar_type() != at::kLong || set.labels.dim() != 1) {
    refuse(fmt::format("labels of type {} and shape {}, and int64 of one dimension are wanted",
                       c10::toString(set.labels.scalar_type()), c10::str(set.labels.sizes())));
  }
  if (set.labels.size(0) != set.images.size(0))
    refuse(fmt::format("{} images and {} labels", set.images.size(0), set.labels.size(0)));
  check_labels(to_vector(set.labels), info, what);
}

const LoadedSet& load_set(const SetRequest& request) {
  static std::map<std::string, LoadedSet> loaded;
  const std::string name = request.data.type + request.data.parameters.to_toml() + request.root.string();
  const auto found = loaded.find(name);
  if (found != loaded.end()) return found->second;
  const std::string what = fmt::format("data set '{}'", request.data.type);
  return call_component(what, [&]() -> const LoadedSet& {
    const auto set = make_set(request);
    LoadedSet all{.info = set->info(), .train = {}, .validation = {}, .test = {}};
    check_info(all.info, what);
    all.train = load_split(*set, Split::kTrain, all.info, what + ", training split,");
    all.validation = load_split(*set, Split::kValidation, all.info, what + ", validation split,");
    all.test = load_split(*set, Split::kTest, all.info, what + ", test split,");
    if (!all.train.defined() || !all.test.defined()) throw FileError(what + " has no training or no test split");
    return loaded.emplace(name, std::move(all)).first->second;
  });
}

DataInfo info_of_set(const SetRequest& request) {
  const std::string what = fmt::format("data set '{}'", request.data.type);
  return call_component(what, [&] {
    const DataInfo info = make_set(request)->info();
    check_info(info, what);
    return info;
  });
}

}  // namespace kd
