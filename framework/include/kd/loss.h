// A loss: from the outputs of student and teachers and the targets to one scalar.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/group.h"
#include "kd/plugin.h"
#include "kd/random.h"
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

/// What a loss sees of a step. Logits are float; features have the precision of the stage.
struct KD_API LossInput {
  const Outputs& student;
  /// Without gradient; as many as the loss was made for, see LossNeeds. Empty where the loss asked for none.
  std::span<const Outputs> teachers = {};
  const Batch& batch;  ///< what the student saw: its rows are those of the outputs
  ScheduleTime time = {};
  RandomKey key = {};                  ///< for what is random in this step
  std::vector<ViewLogits> views = {};  ///< the extra views that the losses of the list asked for

  /// The only teacher.
  const Outputs& teacher() const;
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
  /// Compares the student with a teacher. Of several teachers each gets a loss object of its own, with its own adapters
  /// and memory, and their sum by the teachers' shares is what counts.
  bool teacher = false;
  /// With `teacher`: one object sees all teachers at once.
  bool teachers_together = false;
  TapRequest student_taps = {}, teacher_taps = {};
  std::vector<ViewRequest> views = {};
  bool one_label = false;  ///< cannot take mixed targets
};

/// What both need. A view that one of them teaches through is taught through for both.
KD_API LossNeeds merged(LossNeeds all, const LossNeeds& more);

/// What is known of a teacher before the first step.
struct KD_API TeacherInfo {
  TapShapes taps;    ///< the features that it offers
  double share = 1;  ///< of the stage's teachers; shares sum to 1
};

class KD_API Loss {
 public:
  static constexpr const char* kKind = "loss";
  struct Context {
    std::int64_t classes = 0;
    std::int64_t samples = 0;                ///< size of the training set, for losses with a memory per sample
    at::Tensor labels = {};                  ///< int64, `samples`, on the CPU: those of the training set
    TapShapes student = {};                  ///< the features that the student offers
    std::vector<TeacherInfo> teachers = {};  ///< in the order of LossInput::teachers
    /// For what is random in the loss itself. Modules made in its constructor take their first weights from it unasked.
    RandomKey key = {};
    /// The processes that share each batch: a loss that looks across the batch gathers its rows.
    Group* group = &Group::alone();
    std::int64_t free_memory = 0;  ///< bytes of the stage's device that are free; 0 where that is not known
    /// Takes a line for the run's log, such as how much memory a bank takes.
    std::function<void(const std::string&)> say = [](const std::string&) {};

    /// The only teacher. Throws RecipeError where there is none.
    const TeacherInfo& teacher() const;
  };

  virtual ~Loss();
  /// The mean over the batch, a scalar. Runs under the stage's autocast, so that an adapter takes features as they
  /// come; what must be exact is computed of precise() tensors (kd/logits.h).
  virtual at::Tensor operator()(const LossInput& input) = 0;
  virtual LossNeeds needs() const { return {}; }
  /// Whether the mean is over the labelled rows alone: batches whose gradients make one update then weigh as many rows
  /// as they have labels.
  virtual bool labelled_rows_only() const { return false; }
  /// See Scheme::recordable().
  virtual bool recordable() const { return false; }
  /// Adapters, trained with the student, and as buffers what the loss remembers; null for none. Made on the CPU in the
  /// constructor; they follow the student to its device and into its checkpoints.
  virtual std::shared_ptr<torch::nn::Module> module() { return nullptr; }
};

/// A summand of the training objective.
struct KD_API Term {
  std::string name;
  at::Tensor value;  ///< scalar, before its weight
  double weight = 1;
  bool labelled_rows_only = false;  ///< as its loss has it
  bool from_teachers = false;       ///< whether its loss compares with a teacher
};

/// Adds `share` times each term to the one of its name in `sum`.
KD_API void add_share(std::vector<Term>& sum, const std::vector<Term>& terms, double share);

/// A module of a loss, under the name of the loss.
struct KD_API NamedModule {
  std::string name;
  std::shared_ptr<torch::nn::Module> module;
};

/// The `losses = [{ type = …, weight = … }]` of a scheme: declared with extras(), made once, evaluated every step.
class KD_API LossList {
 public:
  /// What stands beside each loss of a list: `weight`, a number or a schedule.
  static std::vector<FieldInfo> extras();

  LossList(const std::vector<ComponentSpec>& specs, const Loss::Context& context);
  LossList(LossList&&) noexcept;
  ~LossList();

  /// One term per loss, named by its type; a second loss of a type is named "kd_2". Losses of weight 0 are left out,
  /// and where there are no outputs of teachers, those that need one.
  std::vector<Term> operator()(const LossInput& input) const;
  /// The terms that compare with teachers, alone.
  std::vector<Term> from_teachers(const LossInput& input) const;
  LossNeeds needs() const;
  /// See Scheme::recordable(). A weight that changes within an epoch is a number of the host.
  bool recordable() const;
  /// Whether there is a loss that needs no teacher.
  bool any_without_teachers() const;
  std::vector<NamedModule> adapters() const;

 private:
  struct Item;
  std::vector<Item> items_;
};

}  // namespace kd
