// What each network takes for what on the test split: a confusion matrix, the pairs of classes that are confused most,
// and, beside a teacher, where a student differs from it: whether it makes the teacher's mistakes or its own, and which
// classes it answers worse or better (the error sets that Stanton et al., NeurIPS 2021, arXiv 2106.05945, ask about
// with one number, the agreement).
//   analysis = [{ type = "confusion", pairs = 10, teacher = "teacher" }]
#include <ATen/ops/bincount.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "../shared/chosen_networks.h"
#include "../shared/same_samples.h"
#include "kd/analysis.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

constexpr std::int64_t kMostNamed = 20;        // classes that a heat map names
constexpr std::ptrdiff_t kShownOfEachEnd = 5;  // classes that lose, and that gain

/// The labelled samples of the test split, as one network answers them.
struct Answers {
  at::Tensor truths, answers;  ///< int64, N
};

Answers answers_of(kd::TrainedModel& network) {
  const at::Tensor& labels = network.labels(kd::Split::kTest);
  const at::Tensor labelled = labels.ge(0);
  return {labels.index({labelled}), network.logits(kd::Split::kTest).argmax(1).index({labelled})};
}

/// How often each class (rows) is answered with each (columns): int64.
at::Tensor confusion_of(const Answers& samples, std::int64_t classes) {
  return at::bincount(samples.truths * classes + samples.answers, {}, classes * classes).view({classes, classes});
}

double ratio(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : std::numeric_limits<double>::quiet_NaN();
}

/// A class mistaken for another.
struct Pair {
  std::int64_t truth, answer, count, samples;
};

/// Most often first, and no more than `most`.
std::vector<Pair> confused_pairs(const at::Tensor& confusion, std::int64_t most) {
  const auto counts = confusion.accessor<std::int64_t, 2>();
  const at::Tensor samples = confusion.sum(1);
  std::vector<Pair> pairs;
  for (std::int64_t truth = 0; truth < confusion.size(0); ++truth) {
    for (std::int64_t answer = 0; answer < confusion.size(1); ++answer) {
      if (truth != answer && counts[truth][answer] > 0)
        pairs.push_back({truth, answer, counts[truth][answer], samples.const_data_ptr<std::int64_t>()[truth]});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.count > b.count; });
  if (static_cast<std::int64_t>(pairs.size()) > most) pairs.resize(static_cast<std::size_t>(most));
  return pairs;
}

/// Each row as shares of its class; without numbers where a class has no samples. The colours end at the largest share
/// off the diagonal, beside which one can see none on a scale up to 1.
kd::HeatMap heat_map(const at::Tensor& confusion) {
  const auto counts = confusion.accessor<std::int64_t, 2>();
  const at::Tensor samples = confusion.sum(1);
  kd::HeatMap map{.values = {}, .low = 0, .numbers = confusion.size(0) <= kMostNamed};
  double largest = 0;
  for (std::int64_t truth = 0; truth < confusion.size(0); ++truth) {
    map.values.emplace_back();
    for (std::int64_t answer = 0; answer < confusion.size(1); ++answer) {
      map.values.back().push_back(ratio(counts[truth][answer], samples.const_data_ptr<std::int64_t>()[truth]));
      if (truth != answer && counts[truth][answer] > 0) largest = std::max(largest, map.values.back().back());
    }
  }
  map.high = largest > 0 ? largest : 1;
  return map;
}

/// Names stand beside the rows, where there is room for them; columns have their numbers.
kd::Figure draw(const kd::NetworkName& network, const at::Tensor& confusion, const std::vector<std::string>& classes) {
  kd::Panel panel{.title = "rows: truth, columns: answer, shares of the row",
                  .x = {.title = "answer (colours: up to the largest mistake)"},
                  .marks = {heat_map(confusion)},
                  .height = 0.82};
  for (std::size_t c = 0; confusion.size(0) <= kMostNamed && c < classes.size(); ++c) {
    const std::string number = std::to_string(c);
    panel.x.categories.push_back(number);
    panel.y.categories.push_back(classes[c].ends_with(number) ? classes[c] : classes[c] + " " + number);
  }
  return {.name = "confusion_" + network.stage + "_" + network.network,
          .title = "Confusion of " + network.text() + " on the test split",
          .panels = {panel}};
}

/// Classes of the data, by what a student answers more or less often rightly than its teacher does.
struct ClassGain {
  std::string name;
  std::int64_t samples;
  double teacher, student;  ///< accuracy

  double gain() const { return student - teacher; }
};

/// Of the classes that have samples: what a student loses most comes first.
std::vector<ClassGain> class_gains(const at::Tensor& teacher, const at::Tensor& student,
                                   const std::vector<std::string>& classes) {
  const auto teachers = teacher.accessor<std::int64_t, 2>(), students = student.accessor<std::int64_t, 2>();
  const at::Tensor counts = teacher.sum(1);
  std::vector<ClassGain> gains;
  for (std::int64_t c = 0; c < teacher.size(0); ++c) {
    const std::int64_t samples = counts.const_data_ptr<std::int64_t>()[c];
    if (samples == 0) continue;
    gains.push_back({classes[static_cast<std::size_t>(c)], samples, ratio(teachers[c][c], samples),
                     ratio(students[c][c], samples)});
  }
  std::stable_sort(gains.begin(), gains.end(),
                   [](const ClassGain& a, const ClassGain& b) { return a.gain() < b.gain(); });
  return gains;
}

/// Both ends of a list that is longer than they are.
std::vector<ClassGain> both_ends(std::vector<ClassGain> gains) {
  const auto left_out = static_cast<std::ptrdiff_t>(gains.size()) - 2 * kShownOfEachEnd;
  if (left_out > 0) gains.erase(gains.begin() + kShownOfEachEnd, gains.begin() + kShownOfEachEnd + left_out);
  return gains;
}

class Confusion final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> stages;
    std::int64_t pairs = 10;
    std::string teacher, teacher_network;

    static void schema(kd::Schema<Params>& s) {
      kd::analyses::declare_stages(s);
      s.field("pairs", &Params::pairs, "how many of the most confused pairs of classes are listed of each network")
          .def(10)
          .range(1, 10000);
      s.field("teacher", &Params::teacher,
              "the stage whose network the others are compared with, sample by sample; empty: no comparison")
          .def("");
      s.field("teacher_network", &Params::teacher_network, "which network of that stage; empty: its only one").def("");
    }
  };

  explicit Confusion(const Params& params) : params_(params) {
    if (params_.teacher.empty() && !params_.teacher_network.empty())
      throw kd::RecipeError("'teacher_network' names a network, and 'teacher' no stage");
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::analyses::check_stages(params_.stages, networks);
    if (!params_.teacher.empty()) kd::find_network(networks, params_.teacher, params_.teacher_network);
  }

  void run(kd::AnalysisContext& context) override {
    const std::vector<kd::TrainedModel*> networks = kd::analyses::chosen_networks(context, params_.stages);
    kd::Table table{.name = "confusion",
                    .caption =
                        "the classes that are most often answered with another on the test split: how often, "
                        "and which share of their class",
                    .columns = {{"stage", kd::ColumnType::kText},
                                {"network", kd::ColumnType::kText},
                                {"truth", kd::ColumnType::kText},
                                {"answer", kd::ColumnType::kText},
                                {"count", kd::ColumnType::kCount},
                                {"share", kd::ColumnType::kShare}},
                    .rows = {}};
    for (kd::TrainedModel* network : networks) {
      const kd::NetworkName& name = network->name();
      const std::vector<std::string>& classes = network->data().class_names;
      const at::Tensor confusion = confusion_of(answers_of(*network), network->data().classes());
      for (const Pair& pair : confused_pairs(confusion, params_.pairs)) {
        table.rows.push_back({name.stage, name.network, classes[static_cast<std::size_t>(pair.truth)],
                              classes[static_cast<std::size_t>(pair.answer)], pair.count,
                              ratio(pair.count, pair.samples)});
      }
      context.figure(draw(name, confusion, classes));
    }
    context.table(table);
    if (!params_.teacher.empty()) compare(context, networks);
  }

 private:
  void compare(kd::AnalysisContext& context, const std::vector<kd::TrainedModel*>& networks) const {
    using enum kd::ColumnType;
    kd::TrainedModel& teacher = context.network(params_.teacher, params_.teacher_network);
    kd::Table table{.name = "teacher_and_student",
                    .caption = "how each network answers the samples of the test split that " + teacher.name().text() +
                               ", the teacher, answers rightly and wrongly: shares of all samples",
                    .columns = {{"stage", kText},
                                {"network", kText},
                                {"both_right", kShare, "both right"},
                                {"only_teacher", kShare, "only teacher right"},
                                {"only_student", kShare, "only student right"},
                                {"same_mistake", kShare, "same mistake"},
                                {"other_mistake", kShare, "other mistakes"}},
                    .rows = {}};
    kd::Table by_class{.name = "teacher_and_student_by_class",
                       .caption = "accuracy by class, and what each network gains on " + teacher.name().text() +
                                  ", the teacher: the classes that lose most come first",
                       .columns = {{"stage", kText},
                                   {"network", kText},
                                   {"class", kText},
                                   {"samples", kCount},
                                   {"teacher", kShare},
                                   {"student", kShare},
                                   {"gain", kNumber}},
                       .rows = {}};
    kd::Table ends = by_class;
    for (kd::TrainedModel* student : networks) {
      if (student == &teacher || !kd::analyses::have_same_samples(*student, teacher, kd::Split::kTest)) continue;
      table.rows.push_back(compared(teacher, *student));
      const std::vector<ClassGain> gains = gains_of(teacher, *student);
      add(by_class, student->name(), gains);
      add(ends, student->name(), both_ends(gains));
    }
    context.table(table);
    context.keep(by_class);
    context.show(ends);
  }

  static kd::Row compared(kd::TrainedModel& teacher, kd::TrainedModel& student) {
    const Answers of_teacher = answers_of(teacher), of_student = answers_of(student);
    const at::Tensor teacher_right = of_teacher.answers.eq(of_teacher.truths);
    const at::Tensor student_right = of_student.answers.eq(of_student.truths);
    const at::Tensor same = of_teacher.answers.eq(of_student.answers);
    const auto share = [](const at::Tensor& samples) { return samples.to(at::kDouble).mean().item<double>(); };
    const at::Tensor both_wrong = (teacher_right | student_right).logical_not();
    return {student.name().stage,
            student.name().network,
            share(teacher_right & student_right),
            share(teacher_right & student_right.logical_not()),
            share(student_right & teacher_right.logical_not()),
            share(both_wrong & same),
            share(both_wrong & same.logical_not())};
  }

  static std::vector<ClassGain> gains_of(kd::TrainedModel& teacher, kd::TrainedModel& student) {
    const std::int64_t classes = student.data().classes();
    return class_gains(confusion_of(answers_of(teacher), classes), confusion_of(answers_of(student), classes),
                       student.data().class_names);
  }

  static void add(kd::Table& table, const kd::NetworkName& student, const std::vector<ClassGain>& gains) {
    for (const ClassGain& one : gains) {
      table.rows.push_back(
          {student.stage, student.network, one.name, one.samples, one.teacher, one.student, one.gain()});
    }
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "confusion", Confusion,
            "confusion matrices, the most confused pairs of classes, and where students differ from a teacher")
