// A loss: from the outputs of student and teacher and the targets to one scalar.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/plugin.h"
#include "kd/schedule.h"

namespace torch::nn {
class Module;
}

namespace kd {

/// The student's logits, N×classes, of an extra view.
struct KD_API ViewLogits {
  std::string view;
  at::Tensor logits;
};

/// What a loss sees of a step.
struct KD_API LossInput {
  const Outputs& student;
  const Outputs* teacher = nullptr;  ///< without gradient; null where the stage has no teacher
  const Targets& targets;
  const at::Tensor& index;  ///< int64, N: position of each sample in the training set
  ScheduleTime time;
  std::vector<ViewLogits> views = {};  ///< the extra views that the losses of the list asked for

  /// The student's logits of the extra view `name`, which must have been asked for.
  const at::Tensor& view(const std::string& name) const;
};

/// An extra view that a loss wants the student's logits of.
struct KD_API ViewRequest {
  std::string name;
  /// Whether the loss teaches through it. With a gradient the view goes through the network in one pass with the batch
  /// itself, so that batch norm sees both; without, in a pass of its own.
  bool gradient = true;
};

/// What a loss needs to work.
struct KD_API LossNeeds {
  bool teacher = false;
  TapRequest student_taps = {}, teacher_taps = {};
  std::vector<ViewRequest> views = {};
  bool one_label = false;  ///< cannot take mixed targets
};

/// What both need. A view that one of them teaches through is taught through for both.
KD_API LossNeeds merged(LossNeeds all, const LossNeeds& more);

class KD_API Loss {
 public:
  static constexpr const char* kKind = "loss";
  struct Context {
    std::int64_t classes = 0;
    std::int64_t samples = 0;  ///< size of the training set, for losses with a memory per sample
  };

  virtual ~Loss();
  /// The mean over the batch, a float scalar. Computed in fp32 whatever the precision of the logits.
  virtual at::Tensor operator()(const LossInput& input) = 0;
  virtual LossNeeds needs() const { return {}; }
  /// Whether the mean is over the labelled rows alone: batches whose gradients make one update then weigh as many rows
  /// as they have labels.
  virtual bool labelled_rows_only() const { return false; }
  /// Adapters that are trained with the student; null for none.
  virtual std::shared_ptr<torch::nn::Module> module() { return nullptr; }
};

/// A summand of the training objective.
struct KD_API Term {
  std::string name;
  at::Tensor value;  ///< scalar, before its weight
  double weight = 1;
  bool labelled_rows_only = false;  ///< as its loss has it
};

/// The `losses = [{ type = …, weight = … }]` of a scheme: declared with extras(), made once, evaluated every step.
class KD_API LossList {
 public:
  /// What stands beside each loss of a list: `weight`, a number or a schedule.
  static std::vector<FieldInfo> extras();

  LossList(const std::vector<ComponentSpec>& specs, const Loss::Context& context);
  ~LossList();

  /// One term per loss, named by its type; a second loss of a type is named "kd_2". Losses of weight 0 are not
  /// computed.
  std::vector<Term> operator()(const LossInput& input) const;
  /// What all of them need.
  LossNeeds needs() const;
  std::vector<std::shared_ptr<torch::nn::Module>> modules() const;

 private:
  struct Item;
  std::vector<Item> items_;
};

}  // namespace kd
