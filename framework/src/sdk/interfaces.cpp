// The key functions of the plugin interfaces: their type information lives here, once, for host and plugins alike.
#include <fmt/format.h>

#include "kd/augmentation.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/diagnostics.h"
#include "kd/loss.h"
#include "kd/model.h"
#include "kd/optimizer.h"
#include "kd/schedule.h"
#include "kd/scheme.h"

namespace kd {

Augmentation::~Augmentation() = default;
at::Tensor Augmentation::view_numbers(const at::Tensor&, RandomKey) const {
  throw Error("an augmentation with several views does not number them");
}
at::Tensor Augmentation::extra_samples(const at::Tensor&, const at::Tensor&, RandomKey) const { return {}; }
DataSet::~DataSet() = default;
ImageSet DataSet::load(Split) const { throw Error("the data set neither loads nor opens a split that it has"); }
std::unique_ptr<ImageReader> DataSet::open(Split) const { return nullptr; }
Group::~Group() = default;
Group& Group::alone() {
  static Group alone;
  return alone;
}
Head::~Head() = default;
BatchNormAffine Head::batch_norm(const std::string& tap) {
  throw Error(fmt::format("no batch norm is known of the feature '{}'", tap));
}
ImageReader::~ImageReader() = default;
Loss::~Loss() = default;
Model::~Model() = default;
at::Tensor Model::head(const at::Tensor&, const std::string& tap) {
  throw Error(fmt::format("the model has no head for the feature '{}'", tap));
}
BatchNormAffine Model::batch_norm(const std::string& tap) {
  throw Error(fmt::format("the model tells of no batch norm for the feature '{}'", tap));
}
Network::~Network() = default;
Optimizer::~Optimizer() = default;
Schedule::~Schedule() = default;
Scheme::~Scheme() = default;
StageContext::~StageContext() = default;
const at::Tensor& Taps::at(const std::string& name) const {
  const auto found = features_.find(name);
  if (found != features_.end()) return found->second;
  throw Error(fmt::format("the feature '{}' was not asked for: needs() of whoever reads it must name it", name));
}
Teacher::~Teacher() = default;
Updater::~Updater() = default;

}  // namespace kd
