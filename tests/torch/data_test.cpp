// Tests of the selection of data, the order of epochs, and augmentation chains.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/batches.h"
#include "data/loaded_set.h"
#include "data/sample_selection.h"
#include "data/training_data.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"
#include "plugin/registry.h"

namespace {

using Positions = std::vector<std::int64_t>;

/// 1000 labels 0 … 9 in turn.
Positions some_labels() {
  Positions labels;
  for (std::int64_t i = 0; i < 1000; ++i) labels.push_back(i % 10);
  return labels;
}

std::map<std::int64_t, int> count_labels(const kd::SelectedSamples& samples) {
  std::map<std::int64_t, int> counts;
  for (const std::int64_t position : samples.train) ++counts[samples.labels[static_cast<std::size_t>(position)]];
  return counts;
}

TEST(SelectSamples, TakesEverythingByDefault) {
  const auto samples = kd::select_samples(some_labels(), 10, {}, 0, {});
  EXPECT_EQ(samples.train.size(), 1000U);
  EXPECT_TRUE(samples.validation.empty());
  EXPECT_EQ(samples.labels, some_labels());
}

TEST(SelectSamples, ValidationIsDisjointAndFixedByTheSeed) {
  kd::DataSelection selection;
  selection.validation = 100;
  const auto samples = kd::select_samples(some_labels(), 10, selection, 3, {});
  EXPECT_EQ(samples.train.size(), 900U);
  EXPECT_EQ(samples.validation.size(), 100U);
  for (const std::int64_t position : samples.validation) {
    EXPECT_FALSE(std::binary_search(samples.train.begin(), samples.train.end(), position));
  }
  EXPECT_EQ(samples.validation, kd::select_samples(some_labels(), 10, selection, 3, {}).validation);
  EXPECT_NE(samples.validation, kd::select_samples(some_labels(), 10, selection, 4, {}).validation);
}

TEST(SelectSamples, ExcludedClassesLeaveTrainingAndValidation) {
  kd::DataSelection selection;
  selection.exclude_classes = {6, 7, 8, 9};
  selection.validation = 50;
  const auto samples = kd::select_samples(some_labels(), 10, selection, 0, {});
  EXPECT_LT(samples.validation.size(), 50U);
  for (const auto& list : {samples.train, samples.validation}) {
    for (const std::int64_t position : list) EXPECT_LT(position % 10, 6);
  }
}

TEST(SelectSamples, ClassesAreRenumberedInTheGivenOrder) {
  kd::DataSelection selection;
  selection.classes = {7, 3};
  const auto samples = kd::select_samples(some_labels(), 10, selection, 0, {});
  EXPECT_EQ(samples.train.size(), 200U);
  for (const std::int64_t position : samples.train) {
    EXPECT_EQ(samples.labels[static_cast<std::size_t>(position)], position % 10 == 7 ? 0 : 1);
  }
}

TEST(SelectSamples, PerClassFractionAndImbalanceCount) {
  kd::DataSelection few;
  few.per_class = 7;
  for (const auto& [label, count] : count_labels(kd::select_samples(some_labels(), 10, few, 0, {})))
    EXPECT_EQ(count, 7) << label;
  kd::DataSelection half;
  half.fraction = 0.5;
  EXPECT_EQ(kd::select_samples(some_labels(), 10, half, 0, {}).train.size(), 500U);
  kd::DataSelection long_tail;
  long_tail.imbalance = 10;
  const auto counts = count_labels(kd::select_samples(some_labels(), 10, long_tail, 0, {}));
  EXPECT_EQ(counts.at(0), 100);
  EXPECT_EQ(counts.at(9), 10);
  EXPECT_EQ(counts.at(5), std::lround(100 * std::pow(10.0, -5.0 / 9.0)));
}

TEST(SelectSamples, LabelNoiseReplacesByOtherClassesAtItsRate) {
  kd::DataSelection noisy;
  noisy.label_noise = 0.3;
  const auto samples = kd::select_samples(some_labels(), 10, noisy, 0, {});
  int changed = 0;
  for (std::size_t i = 0; i < samples.labels.size(); ++i)
    changed += samples.labels[i] != static_cast<std::int64_t>(i % 10) ? 1 : 0;
  EXPECT_NEAR(changed, 300, 60);  // four standard deviations of a fixed draw
  EXPECT_EQ(samples.labels, kd::select_samples(some_labels(), 10, noisy, 0, {}).labels);
}

TEST(SelectSamples, HidesAnExactShareOfTheTrainingLabels) {
  kd::DataSelection selection;
  selection.unlabelled = 0.75;
  selection.validation = 200;
  const auto samples = kd::select_samples(some_labels(), 10, selection, 0, {});
  const auto hidden = [&](std::int64_t position) { return samples.labels[static_cast<std::size_t>(position)] == -1; };
  EXPECT_EQ(std::count_if(samples.train.begin(), samples.train.end(), hidden), 600);
  EXPECT_EQ(std::count_if(samples.validation.begin(), samples.validation.end(), hidden), 0);
  EXPECT_NE(samples.labels, kd::select_samples(some_labels(), 10, selection, 1, {}).labels);
}

TEST(SelectSamples, ImpossibleSelectionsSayWhy) {
  const auto message = [](const kd::DataSelection& selection) -> std::string {
    try {
      kd::select_samples(some_labels(), 10, selection, 0,
                         kd::Location{std::make_shared<const std::string>("r.toml"), 3, 1});
    } catch (const kd::RecipeError& error) {
      return error.what();
    }
    return "";
  };
  kd::DataSelection selection;
  selection.exclude_classes = {12};
  EXPECT_EQ(message(selection), "r.toml:3:1: error: there is no class 12: the data set has 10, counted from 0");
  selection.exclude_classes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_EQ(message(selection), "r.toml:3:1: error: this selection leaves no image to train on");
  selection.exclude_classes = {};
  selection.validation = 1000;
  EXPECT_EQ(message(selection), "r.toml:3:1: error: validation = 1000 leaves nothing of 1000 images to train on");
  selection = {};
  selection.classes = {1, 4, 1};
  EXPECT_EQ(message(selection), "r.toml:3:1: error: 'classes' names class 1 twice");
}

TEST(EpochOrder, IsAPermutationOfItsKeyAlone) {
  const at::Tensor order = kd::epoch_order({.own = 1000}, 100, kd::RandomKey{}.with(1));
  EXPECT_TRUE(at::equal(std::get<0>(order.sort()), at::arange(1000)));
  EXPECT_TRUE(at::equal(order, kd::epoch_order({.own = 1000}, 100, kd::RandomKey{}.with(1))));
  EXPECT_FALSE(at::equal(order, kd::epoch_order({.own = 1000}, 100, kd::RandomKey{}.with(2))));
  // A random permutation has one fixed point on average.
  EXPECT_LT(order.eq(at::arange(1000)).sum().item<std::int64_t>(), 8);
}

TEST(EpochOrder, ShowsOwnSamplesOnceAndOthersByTheirShare) {
  // 100 of 3 in each batch of 10 leave 7 for the own: 14 whole batches, and one of the last 2 with 1 other.
  const kd::SampleSources sources{.own = 100, .others = 30, .share = 0.3};
  ASSERT_EQ(sources.rows(10), 143);
  const at::Tensor order = kd::epoch_order(sources, 10, kd::RandomKey{}.with(1));
  ASSERT_EQ(order.size(0), 143);
  EXPECT_TRUE(at::equal(std::get<0>(order.masked_select(order.lt(100)).sort()), at::arange(100)));
  for (std::int64_t batch = 0; batch < 14; ++batch)
    EXPECT_EQ(order.narrow(0, 10 * batch, 10).ge(100).sum().item<std::int64_t>(), 3);
  EXPECT_EQ(order.narrow(0, 140, 3).ge(100).sum().item<std::int64_t>(), 1);
  // Each of the 30 once, and then in another order once more.
  const at::Tensor others = order.masked_select(order.ge(100));
  EXPECT_TRUE(at::equal(std::get<0>(others.narrow(0, 0, 30).sort()), at::arange(100, 130)));
  EXPECT_EQ(std::set<std::int64_t>(others.data_ptr<std::int64_t>() + 30, others.data_ptr<std::int64_t>() + 43).size(),
            13U);
  EXPECT_FALSE(at::equal(others.narrow(0, 0, 13), others.narrow(0, 30, 13)));
  // Spread: each half of a batch has some.
  EXPECT_GE(order.narrow(0, 0, 5).ge(100).sum().item<std::int64_t>(), 1);
  EXPECT_GE(order.narrow(0, 5, 5).ge(100).sum().item<std::int64_t>(), 1);
  EXPECT_TRUE(at::equal(order, kd::epoch_order(sources, 10, kd::RandomKey{}.with(1))));
  EXPECT_FALSE(at::equal(order, kd::epoch_order(sources, 10, kd::RandomKey{}.with(2))));
  // Data-free: the own samples are never seen.
  const kd::SampleSources alone{.own = 100, .others = 30, .share = 1};
  ASSERT_EQ(alone.rows(8), 30);
  EXPECT_TRUE(at::equal(std::get<0>(kd::epoch_order(alone, 8, kd::RandomKey{}.with(1)).sort()), at::arange(100, 130)));
  // However small the share, there is one; however large, there is one of the own.
  EXPECT_EQ((kd::SampleSources{.own = 8, .others = 5, .share = 0.01}.rows(3)), 12);
  EXPECT_EQ((kd::SampleSources{.own = 8, .others = 5, .share = 0.99}.rows(3)), 24);
}

kd::TrainingData load_glyphs(const std::string& toml) {
  kd::load_plugins();
  return kd::load_training_data({.data = kd::parse_component("dataset", kd::fields_of<kd::DataSelection>(), toml)});
}

TEST(UnlabelledSource, JoinsTheTrainingSetWithoutItsLabels) {
  const kd::TrainingData alone = load_glyphs("{ type = 'glyphs', train = 40, test = 10 }");
  const kd::TrainingData other = load_glyphs("{ type = 'glyphs', train = 30, test = 10, seed = 5 }");
  const kd::TrainingData joined = load_glyphs(
      "{ type = 'glyphs', train = 40, test = 10, unlabelled_from = { type = 'glyphs', train = 30, seed = 5, share = "
      "0.25 } }");
  EXPECT_EQ(joined.train.samples(), 70);
  EXPECT_EQ(joined.sources.own, 40);
  EXPECT_EQ(joined.sources.others, 30);
  EXPECT_EQ(joined.sources.share, 0.25);
  EXPECT_TRUE(joined.train.images(0, 40).equal(alone.train.images(0, 40)));
  EXPECT_TRUE(joined.train.images(40, 30).equal(other.train.images(0, 30)));
  EXPECT_TRUE(joined.train.labels().narrow(0, 0, 40).equal(alone.train.labels()));
  EXPECT_TRUE(joined.train.labels().narrow(0, 40, 30).eq(-1).all().item<bool>());
  EXPECT_EQ(joined.train_labels.size(), 70U);
  EXPECT_EQ(joined.test.samples(), 10);
  EXPECT_NE(joined.fingerprint, alone.fingerprint);
  EXPECT_EQ(alone.sources.others, 0);
}

TEST(UnlabelledSource, GivesImagesOfSomeClassesEvenlySpread) {
  const kd::TrainingData other = load_glyphs("{ type = 'glyphs', train = 300, test = 10, seed = 5, classes = [2, 3] }");
  const std::string common =
      "{ type = 'glyphs', train = 40, test = 10, unlabelled_from = { type = 'glyphs', train = 300, seed = 5, ";
  const kd::TrainingData some = load_glyphs(common + "exclude_classes = [0, 1, 4, 5, 6, 7, 8, 9] } }");
  ASSERT_EQ(some.sources.others, other.train.samples());
  EXPECT_TRUE(some.train.images(40, some.sources.others).equal(other.train.images(0, some.sources.others)));
  const kd::TrainingData few = load_glyphs(common + "images = 100 } }");
  ASSERT_EQ(few.sources.others, 100);
  const kd::TrainingData all = load_glyphs("{ type = 'glyphs', train = 300, test = 10, seed = 5 }");
  for (const std::int64_t i : {0, 1, 50, 99})
    EXPECT_TRUE(few.train.images(40 + i, 1).equal(all.train.images(3 * i, 1)));
}

/// Larger images than those of glyphs.
class Large final : public kd::DataSet {
 public:
  struct Params {
    static void schema(kd::Schema<Params>&) {}
  };
  explicit Large(const Params&) {}
  kd::DataInfo info() const override { return {1, 32, 32, {"a"}, {}, {}}; }
  kd::ImageSet load(kd::Split) const override {
    return {at::zeros({4, 1, 32, 32}, at::kByte), at::zeros({4}, at::kLong)};
  }
};

TEST(UnlabelledSource, WantsImagesOfTheSameSize) {
  static constinit kd::detail::Entry entry{"dataset",
                                           "large",
                                           "of another size",
                                           __FILE__,
                                           __LINE__,
                                           &kd::detail::Maker<kd::DataSet, Large>::describe,
                                           &kd::detail::Maker<kd::DataSet, Large>::roles,
                                           &kd::detail::Maker<kd::DataSet, Large>::source,
                                           nullptr,
                                           &kd::detail::Maker<kd::DataSet, Large>::create,
                                           nullptr};
  kd::registry().add(&entry, "data_test");
  const std::string toml = "{ type = 'glyphs', train = 40, test = 10, unlabelled_from = { type = 'large' } }";
  try {
    load_glyphs(toml);
    FAIL() << "sizes were mixed";
  } catch (const kd::RecipeError& error) {
    EXPECT_NE(std::string(error.what()).find("has images of 1×32×32, and those of 'glyphs' are"), std::string::npos)
        << error.what();
  }
}

TEST(ForeignDataSet, IsCheckedWithItsName) {
  const kd::DataInfo info{3, 4, 4, {"a", "b"}, {}, {}};
  const auto problem_of = [&](const kd::ImageSet& set) -> std::string {
    try {
      kd::check_split(set, info, "data set 'mine', training split,");
    } catch (const kd::FileError& error) {
      return error.what();
    }
    return "";
  };
  const at::Tensor images = at::zeros({6, 3, 4, 4}, at::kByte);
  const at::Tensor labels = at::tensor({0, 1, 0, 1, 0, 1}, at::kLong);
  EXPECT_EQ(problem_of({images, labels}), "");
  const auto expect_problem = [&](const kd::ImageSet& set, const std::string& part) {
    const std::string problem = problem_of(set);
    EXPECT_TRUE(problem.starts_with("data set 'mine', training split, gives ")) << problem;
    EXPECT_NE(problem.find(part), std::string::npos) << problem;
  };
  for (const std::int64_t label : {std::int64_t{2}, std::int64_t{-1}, std::int64_t{1'000'000'000}}) {
    at::Tensor wrong = labels.clone();
    wrong[3] = label;
    expect_problem({images, wrong}, "the label " + std::to_string(label) + ", and its classes are 0 to 1");
  }
  expect_problem({images.to(at::kFloat), labels}, "images of type Float, and bytes (uint8) are wanted");
  expect_problem({images.permute({0, 2, 3, 1}), labels}, "images of shape [6, 4, 4, 3], and its info says N×3×4×4");
  expect_problem({images, labels.narrow(0, 0, 3)}, "6 images and 3 labels");
  expect_problem({images, labels.view({6, 1})}, "labels of type Long and shape [6, 1]");
  expect_problem({images, labels.to(at::kInt)}, "labels of type Int");
  expect_problem({images.narrow(0, 0, 0), labels.narrow(0, 0, 0)}, "no images");
  expect_problem({{}, labels}, "no images or no labels");
}

/// A data set that throws what is no exception, or has no classes.
class Broken final : public kd::DataSet {
 public:
  struct Params {
    bool throws = true;
    static void schema(kd::Schema<Params>& s) { s.field("throws", &Params::throws, "a number").def(true); }
  };
  explicit Broken(const Params& params) : params_(params) {}
  kd::DataInfo info() const override { return {3, 4, 4, {}, {}, {}}; }
  kd::ImageSet load(kd::Split) const override {
    if (params_.throws) throw 7;
    return {};
  }

 private:
  const Params params_;
};

TEST(ForeignDataSet, MayThrowAnything) {
  static constinit kd::detail::Entry entry{"dataset",
                                           "broken",
                                           "throws",
                                           __FILE__,
                                           __LINE__,
                                           &kd::detail::Maker<kd::DataSet, Broken>::describe,
                                           &kd::detail::Maker<kd::DataSet, Broken>::roles,
                                           &kd::detail::Maker<kd::DataSet, Broken>::source,
                                           nullptr,
                                           &kd::detail::Maker<kd::DataSet, Broken>::create,
                                           nullptr};
  kd::registry().add(&entry, "data_test");
  const auto problem_of = [](const std::string& toml) -> std::string {
    try {
      kd::load_training_data({.data = kd::parse_component("dataset", kd::fields_of<kd::DataSelection>(), toml)});
    } catch (const kd::Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(problem_of("{ type = 'broken', throws = false }"), "data set 'broken' has no classes");
  EXPECT_EQ(problem_of("{ type = 'broken' }"), "data set 'broken' has no classes");
  try {
    kd::call_component("loss 'odd'", []() -> int { throw 7; });
    FAIL();
  } catch (const kd::Error& error) {
    EXPECT_EQ(std::string(error.what()), "loss 'odd' threw something that is no exception");
  }
}

TEST(DataRoot, AnEmptyVariableIsNone) {
  ::setenv("KD_DATA", "", 1);
  ::setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(kd::data_root(""), "/home/someone/.cache/kdrun/data");
  ::setenv("KD_DATA", "/data", 1);
  EXPECT_EQ(kd::data_root(""), "/data");
  EXPECT_EQ(kd::data_root("/mine"), "/mine");
}

TEST(EpochOrder, EveryPlaceIsReachedAboutEvenly) {
  at::Tensor sum = at::zeros({20}, at::kLong);
  for (std::uint64_t epoch = 0; epoch < 4000; ++epoch)
    sum += kd::epoch_order({.own = 20}, 20, kd::RandomKey{}.with(epoch));
  const at::Tensor mean = sum.to(at::kDouble) / 4000;
  // The mean position of a uniform permutation of 20 is 9.5 with standard error 0.09.
  EXPECT_LT((mean - 9.5).abs().max().item<double>(), 0.4);
}

kd::AugmentationChain make_chain(const std::string& toml, const kd::DataInfo& info) {
  std::vector<kd::ComponentSpec> specs;
  kd::Diagnostics diagnostics;
  const kd::Value list = kd::Value::parse(toml);
  for (const kd::Value& item : list.as_list()) {
    specs.push_back(kd::to_component(
        "augmentation", {}, kd::resolve_component("augmentation", {}, item, kd::registered_components(), diagnostics)));
  }
  diagnostics.throw_if_any();
  return {specs, info};
}

TEST(AugmentationChain, SameSampleSameViewWhateverTheBatch) {
  kd::load_plugins();
  const kd::DataInfo info{3, 16, 16, {"a", "b"}, {0.5, 0.5, 0.5}, {0.2, 0.2, 0.2}};
  const auto chain =
      make_chain("[{ type = 'random_crop', padding = 2 }, { type = 'horizontal_flip' }, { type = 'normalize' }]", info);
  EXPECT_EQ(chain.views(), 25 * 2);
  for (const at::Device device : kd::testing::devices()) {
    const kd::Batch all = kd::testing::byte_batch(32, 3, 16, 16, 2);
    const kd::SplitData set({all.images.to(device), all.targets.labels.to(device)});
    const kd::RandomKey key = kd::RandomKey{}.with(5);
    const kd::Batch whole = chain.make_batch(set, set.on_both(at::arange(32, at::kLong)), key);
    const kd::Batch part = chain.make_batch(set, set.on_both(at::tensor({30, 7, 11}, at::kLong)), key);
    EXPECT_TRUE(at::equal(part.images, whole.images.index_select(0, part.index)));
    EXPECT_TRUE(at::equal(part.view, whole.view.index_select(0, part.index)));
    EXPECT_EQ(part.images.scalar_type(), at::kFloat);
  }
}

TEST(AugmentationChain, EvaluationOnlyNormalises) {
  kd::load_plugins();
  const kd::DataInfo info{1, 8, 8, {"a", "b"}, {0.25}, {0.5}};
  const auto chain = make_chain("[{ type = 'random_crop' }, { type = 'normalize' }]", info);
  const at::Tensor images = kd::testing::byte_batch(4, 1, 8, 8, 2).images;
  const at::Tensor expected = (images.to(at::kFloat) / 255 - 0.25) / 0.5;
  EXPECT_TRUE(at::allclose(chain.apply_in_evaluation(images), expected, 1e-5, 1e-6));
}

}  // namespace
