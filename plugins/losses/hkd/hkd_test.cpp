// Tests of the loss "hkd".
#include <ATen/ops/cat.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <numeric>
#include <thread>

#include "kd/features.h"
#include "kd/random_tensors.h"
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

constexpr double kTemperature = 0.5, kSmoothing = 0.75;
constexpr std::int64_t kWidth = 4, kRows = 6, kNegatives = 7, kNeighbours = 3;
constexpr const char* kParameters = "width = 4, negatives = 7, neighbours = 3, temperature = 0.5";

using kd::testing::rows;
using Vector = std::vector<double>;
using Vectors = std::vector<Vector>;

double product(const Vector& a, const Vector& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

Vector unit(Vector v) {
  const double norm = std::sqrt(product(v, v));
  for (double& x : v) x /= norm;
  return v;
}

/// weight · x + bias.
Vector linear(const Vectors& weight, const Vector& bias, const Vector& x) {
  Vector result = bias;
  for (std::size_t i = 0; i < weight.size(); ++i) result[i] += product(weight[i], x);
  return result;
}

Vector softmax(Vector z) {
  double sum = 0;
  for (double& x : z) sum += x = std::exp(x);
  for (double& x : z) x /= sum;
  return z;
}

/// The samples of other classes that each row of the batch is contrasted with: drawn evenly from the list of them.
std::vector<std::vector<std::size_t>> negatives_of(const Setting& setting) {
  const at::Tensor draws = kd::random_uniform(setting.key.with("negatives"), setting.batch.index, kNegatives);
  const Vectors drawn = rows(draws);
  std::vector<std::vector<std::size_t>> result;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    std::vector<std::size_t> list;
    for (std::size_t label = 0; label < kClasses; ++label) {
      for (std::size_t sample = label; sample < kSamples; sample += kClasses) {
        if (label != i % kClasses) list.push_back(sample);
      }
    }
    std::vector<std::size_t> chosen;
    for (const double draw : drawn[i])
      chosen.push_back(list[static_cast<std::size_t>(draw * static_cast<double>(list.size()))]);
    result.push_back(chosen);
  }
  return result;
}

/// The definition in plain doubles, of the parameters and banks that a loss has.
class Reference {
 public:
  explicit Reference(Setting& setting, std::size_t neighbours = kNeighbours)
      : neighbours_(neighbours),
        parameters_(kd::testing::parameters_of(setting.loss())),
        banks_(kd::testing::buffers_of(setting.loss())),
        negatives_(negatives_of(setting)),
        student_(side("student", setting.student)),
        teacher_(side("teacher", setting.teacher)) {}

  double individual() const { return contrast(student_, teacher_, false) + contrast(teacher_, student_, false); }
  double graph() const { return graph(*this); }
  /// With the positives of `constant`, which get no gradient.
  double graph(const Reference& constant) const {
    return contrast(student_, constant.teacher_, true) + contrast(teacher_, constant.student_, true);
  }
  const Vectors& rows_of_student() const { return student_.rows; }

 private:
  struct Side {
    Vectors bank, rows, graph;
  };

  Side side(const std::string& name, const FeatureMap& features) const {
    Side result{rows(banks_.at(name + "_bank")), {}, {}};
    const Vectors weight = rows(parameters_.at(name + ".0.weight")), mix = rows(parameters_.at(name + "_graph_weight"));
    const Vector bias = rows(parameters_.at(name + ".0.bias").unsqueeze(0))[0],
                 mix_bias = rows(parameters_.at(name + "_graph_bias").unsqueeze(0))[0];
    for (const Vector& x : rows(features.at("pooled"))) result.rows.push_back(unit(linear(weight, bias, x)));
    Vectors posteriors;
    for (const Vector& z : rows(features.at("logits"))) posteriors.push_back(unit(softmax(z)));
    for (std::size_t i = 0; i < posteriors.size(); ++i) {
      std::vector<std::size_t> near;
      for (std::size_t j = 0; j < posteriors.size(); ++j) near.push_back(j);
      std::sort(near.begin(), near.end(), [&](std::size_t a, std::size_t b) {
        if (a == i || b == i) return a == i && b != i;
        return product(posteriors[i], posteriors[a]) > product(posteriors[i], posteriors[b]);
      });
      Vector both = result.rows[i];  // hop 0, and the mean of the neighbours
      for (std::size_t d = 0; d < kWidth; ++d) {
        double sum = 0;
        for (std::size_t n = 0; n < neighbours_; ++n) sum += result.rows[near[n]][d];
        both.push_back(sum / static_cast<double>(neighbours_));
      }
      result.graph.push_back(unit(linear(mix, mix_bias, both)));
    }
    return result;
  }

  double contrast(const Side& own, const Side& other, bool graph) const {
    double sum = 0;
    for (std::size_t i = 0; i < own.rows.size(); ++i) {
      const Vector& row = graph ? own.graph[i] : own.rows[i];
      Vector positive = other.bank[i];
      if (graph) {
        for (std::size_t d = 0; d < kWidth; ++d)
          positive[d] = kSmoothing * positive[d] + (1 - kSmoothing) * other.graph[i][d];
        positive = unit(positive);
      }
      const double score = product(row, positive) / kTemperature;
      double all = std::exp(score);
      for (const std::size_t sample : negatives_[i]) all += std::exp(product(row, own.bank[sample]) / kTemperature);
      sum += std::log(all) - score;
    }
    return sum / static_cast<double>(own.rows.size());
  }

  const std::size_t neighbours_;
  const std::map<std::string, at::Tensor> parameters_, banks_;
  const std::vector<std::vector<std::size_t>> negatives_;
  const Side student_, teacher_;
};

TEST(Hkd, FollowsTheDefinition) {
  Setting setting("hkd", kParameters, wider(), kRows);
  setting.make_double();
  for (int step = 0; step < 3; ++step) {
    const Reference reference(setting);
    EXPECT_GT(reference.graph(), 0.1);
    EXPECT_NEAR(setting.step(setting.student, setting.teacher).item<double>(),
                reference.individual() + reference.graph(), 1e-12)
        << step;
    setting.key = setting.key.with("next");
  }
}

/// Everything that the loss holds, from fixed numbers.
void fix(Setting& setting) {
  std::uint64_t seed = 20;
  for (const auto& [name, parameter] : kd::testing::parameters_of(setting.loss()))
    parameter.data().copy_(kd::testing::normal(parameter.sizes(), seed++));
  for (const auto& [name, bank] : kd::testing::buffers_of(setting.loss())) {
    if (bank.is_floating_point()) bank.copy_(kd::unit_rows(kd::testing::normal(bank.sizes(), seed++)));
  }
}

// The authors' code (their GNNLoss, with stand-ins for its graph library) on these numbers, in double precision.
TEST(Hkd, AgreesWithTheReleasedCode) {
  Setting setting("hkd", kParameters, wider(), kRows);
  setting.make_double();
  fix(setting);
  EXPECT_NEAR(setting.step(setting.student, setting.teacher).item<double>(), 9.901690333653614, 1e-9);
  EXPECT_NEAR(setting.step(setting.student, setting.teacher).item<double>(), 9.91913052168672, 1e-9);
}

TEST(Hkd, HasNoGraphOfABatchWithFewerSamplesThanNeighbours) {
  for (const bool enough : {false, true}) {
    Setting setting("hkd", kParameters, equal(), enough ? kNeighbours : kNeighbours - 1);
    setting.make_double();
    if (!enough) {  // the reference would look for neighbours that are not there
      const at::Tensor before = setting.value();
      kd::testing::parameters_of(setting.loss()).at("student_graph_weight").data().mul_(-2);
      EXPECT_TRUE(setting.value().equal(before));
    } else {
      const Reference reference(setting);
      EXPECT_NEAR(setting.value().item<double>(), reference.individual() + reference.graph(), 1e-12);
    }
  }
}

// At smoothing 1 positives are of the memory alone: elsewhere finite differences see the part that gets no gradient.
TEST(Hkd, IsSound) {
  expect_sound("hkd", "width = 4, negatives = 6, neighbours = 2, temperature = 0.5, smoothing = 1");
  expect_sound("hkd", "width = 4, negatives = 6, neighbours = 1, temperature = 0.5, smoothing = 1", {wider()});
}

TEST(Hkd, SendsNoGradientThroughPositives) {
  Setting setting("hkd", kParameters, equal(), kRows);
  setting.make_double();
  const at::Tensor direction = kd::testing::normal({kRows, 6}, 5).to(at::kDouble);
  const double along = (setting.gradients().at("pooled") * direction).sum().item<double>();
  const Reference here(setting);
  constexpr double kStep = 1e-6;
  const auto at_offset = [&](double offset, bool constant_positives) {
    const at::Tensor kept = setting.student["pooled"];
    setting.student["pooled"] = kept + direction * offset;
    const Reference there(setting);
    setting.student["pooled"] = kept;
    return there.individual() + (constant_positives ? there.graph(here) : there.graph());
  };
  EXPECT_NEAR((at_offset(kStep, true) - at_offset(-kStep, true)) / (2 * kStep), along, 1e-7);
  EXPECT_GT(std::abs((at_offset(kStep, false) - at_offset(-kStep, false)) / (2 * kStep) - along), 1e-3);
}

TEST(Hkd, TakesNeighboursFromTheNetworksOwnPosteriors) {
  Setting setting("hkd", kParameters, equal(), kRows);
  setting.make_double();
  const at::Tensor before = setting.value();
  FeatureMap changed = setting.student;
  changed["logits"] = changed["logits"] + 5;  // the same posteriors
  EXPECT_TRUE(setting.value(changed, setting.teacher).allclose(before, 1e-12));
  changed["logits"] = setting.student["logits"].flip(0);
  EXPECT_FALSE(setting.value(changed, setting.teacher).allclose(before, 1e-6));
  changed = setting.teacher;
  changed["logits"] = setting.teacher["logits"].flip(0);
  EXPECT_FALSE(setting.value(setting.student, changed).allclose(before, 1e-6));
}

TEST(Hkd, IsItsOwnNearestEvenWhereAllPosteriorsAreEqual) {
  Setting setting("hkd", "width = 4, negatives = 7, neighbours = 1, temperature = 0.5", equal(), kRows);
  setting.make_double();
  setting.student["logits"].zero_();
  setting.teacher["logits"].zero_();
  const Reference reference(setting, 1);
  EXPECT_NEAR(setting.value().item<double>(), reference.individual() + reference.graph(), 1e-12);
}

TEST(Hkd, BanksFollowEmbeddingsWithMomentum) {
  Setting setting("hkd", std::string(kParameters) + ", momentum = 0.25", equal(), kRows);
  setting.make_double();
  const at::Tensor bank = kd::testing::buffers_of(setting.loss()).at("student_bank");
  const Vectors before = rows(bank.clone());
  const Reference reference(setting);
  setting.step(setting.student, setting.teacher);
  const Vectors after = rows(bank);
  for (std::size_t i = 0; i < kSamples; ++i) {
    Vector expected = before[i];
    if (i < kRows) {
      for (std::size_t d = 0; d < kWidth; ++d)
        expected[d] = 0.25 * expected[d] + 0.75 * reference.rows_of_student()[i][d];
      expected = unit(expected);
    }
    for (std::size_t d = 0; d < kWidth; ++d) EXPECT_NEAR(after[i][d], expected[d], 1e-12) << i;
  }
}

TEST(Hkd, TakesNoMoreNegativesThanThereAreSamples) {
  Setting setting("hkd", "width = 4, neighbours = 2, temperature = 0.5", equal(), 3);
  Setting clipped("hkd", "width = 4, neighbours = 2, temperature = 0.5, negatives = 12", equal(), 3);
  EXPECT_EQ(setting.value().item<double>(), clipped.value().item<double>());
}

/// Two processes as threads, which meet whenever both gather.
class Meeting {
 public:
  at::Tensor gather(std::size_t rank, const at::Tensor& rows) {
    brought_[rank] = rows;
    both_.arrive_and_wait();
    const at::Tensor all = at::cat({brought_[0], brought_[1]});
    both_.arrive_and_wait();  // before anyone brings the next
    return all;
  }

 private:
  std::array<at::Tensor, 2> brought_;
  std::barrier<> both_{2};
};

class Process final : public kd::Group {
 public:
  Process(Meeting& meeting, std::int64_t rank) : meeting_(meeting), rank_(rank) {}

  std::int64_t rank() const override { return rank_; }
  std::int64_t size() const override { return 2; }
  at::Tensor gather(const at::Tensor& rows) override { return meeting_.gather(static_cast<std::size_t>(rank_), rows); }
  void sum(const std::vector<at::Tensor>& tensors) override {
    for (at::Tensor tensor : tensors) tensor.copy_(gather(tensor.unsqueeze(0).clone()).sum(0));
  }

 private:
  Meeting& meeting_;
  const std::int64_t rank_;
};

kd::Outputs outputs(const at::Tensor& logits, const at::Tensor& pooled) {
  kd::Outputs result{.logits = logits, .taps = kd::Taps({"pooled"})};
  result.taps.offer("pooled", pooled);
  return result;
}

/// What a step over some rows of a batch gave.
struct Step {
  double value = 0;
  at::Tensor gradient, bank;  // by the student's features, and the student's memory afterwards
};

Step step_over(kd::Group& group, std::int64_t begin, std::int64_t count) {
  const auto loss = kd::make<kd::Loss>(std::string("{ type = 'hkd', ") + kParameters + " }",
                                       {.classes = kClasses,
                                        .samples = kSamples,
                                        .labels = kd::testing::byte_batch(kSamples, 1, 1, 1, kClasses).targets.labels,
                                        .student = {{"pooled", {6}}},
                                        .teachers = {{.taps = {{"pooled", {6}}}}},
                                        .key = kd::RandomKey{}.with("loss"),
                                        .group = &group});
  kd::testing::place_module(*loss, at::kCPU, at::kDouble);
  std::uint64_t seed = 10;
  for (const auto& [name, parameter] : kd::testing::parameters_of(*loss))
    parameter.data().copy_(kd::testing::normal(parameter.sizes(), seed++));
  const auto own = [&](std::uint64_t which, std::int64_t width) {
    return kd::testing::normal({kRows, width}, which).to(at::kDouble).narrow(0, begin, count).clone();
  };
  const at::Tensor features = own(1, 6).requires_grad_(true);
  const kd::Outputs student = outputs(own(2, kClasses), features), teacher = outputs(own(3, kClasses), own(4, 6));
  kd::Batch batch = kd::testing::byte_batch(kRows, 1, 1, 1, kClasses);
  batch.index = batch.index.narrow(0, begin, count);
  const at::Tensor value =
      (*loss)({.student = student, .teachers = {&teacher, 1}, .batch = batch, .key = kd::RandomKey{}.with("step")});
  const at::Tensor gradient = torch::autograd::grad({value}, {features})[0];
  return {value.item<double>(), gradient, kd::testing::buffers_of(*loss).at("student_bank")};
}

TEST(Hkd, OverTwoProcessesIsWhatOneWouldDo) {
  kd::load_plugins();
  const Step alone = step_over(kd::Group::alone(), 0, kRows);
  Meeting meeting;
  std::array<Process, 2> processes{Process(meeting, 0), Process(meeting, 1)};
  std::array<Step, 2> halves;
  std::vector<std::thread> threads;
  for (const std::size_t rank : {0, 1}) {
    threads.emplace_back([&, rank] {
      halves[rank] = step_over(processes[rank], static_cast<std::int64_t>(rank) * kRows / 2, kRows / 2);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_NEAR((halves[0].value + halves[1].value) / 2, alone.value, 1e-12);
  const at::Tensor gradient = at::cat({halves[0].gradient, halves[1].gradient}) / 2;
  EXPECT_LT((gradient - alone.gradient).abs().max().item<double>(), 1e-12);
  for (const Step& half : halves) EXPECT_LT((half.bank - alone.bank).abs().max().item<double>(), 1e-12);
}

TEST(Hkd, SaysAndRefusesWhatItsBanksTake) {
  kd::load_plugins();
  std::string said;
  kd::Loss::Context context{.classes = 2,
                            .samples = 50000,
                            .labels = kd::testing::byte_batch(50000, 1, 1, 1, 2).targets.labels,
                            .student = {{"pooled", {64}}},
                            .teachers = {{.taps = {{"pooled", {64}}}}},
                            .free_memory = 0,
                            .say = [&](const std::string& line) { said = line; }};
  kd::make<kd::Loss>("{ type = 'hkd' }", context);
  EXPECT_EQ(said, "hkd: two banks of 50000×128 take 51 MB, each sample of a batch 3 MB");
  context.free_memory = 100'000'000;
  try {
    kd::make<kd::Loss>("{ type = 'hkd' }", context);
    FAIL();
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find("100 MB are free"), std::string::npos) << error.what();
  }
}

TEST(Hkd, RefusesASetOfOneClassAndMoreThanOneFeature) {
  kd::load_plugins();
  EXPECT_THROW(kd::make<kd::Loss>("{ type = 'hkd' }", {.classes = 2,
                                                       .samples = 3,
                                                       .labels = kd::testing::byte_batch(3, 1, 1, 1, 1).targets.labels,
                                                       .student = {{"pooled", {4}}},
                                                       .teachers = {{.taps = {{"pooled", {4}}}}}}),
               kd::RecipeError);
  expect_refusal("hkd", "taps = ['pooled', 'logits']", equal(), "compares one feature");
}

}  // namespace
