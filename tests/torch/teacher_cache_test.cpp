// Tests of the teachers' answers that are kept.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/frozen_network.h"
#include "engine/placement.h"
#include "engine_fixture.h"

namespace {

class TeacherCacheTest : public engine_tests::EngineTest {};

INSTANTIATE_TEST_SUITE_P(Devices, TeacherCacheTest, ::testing::ValuesIn(engine_tests::device_names()),
                         [](const auto& item) { return item.param; });

TEST_P(TeacherCacheTest, TheTeacherCacheDoesNotChangeTheResult) {
  const auto cached = run({"train.precision=\"fp32\""}, "a");
  const auto computed = run({"train.teacher_cache=\"off\"", "train.precision=\"fp32\""}, "b");
  // Not bit for bit: matrix products of other sizes are summed in another order.
  EXPECT_LT(largest_difference(weights(cached.stages[1]), weights(computed.stages[1])), 1e-4);
}

constexpr const char* kTwoStudents = R"(
device = "DEVICE"
[data]
type = "glyphs"
train = 200
test = 50
[train]
epochs = 3
batch_size = 64
threads = 1
precision = "fp32"
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9 }
augment = [{ type = "random_crop", padding = 1 }, { type = "horizontal_flip" }, { type = "normalize" }]
[[stage]]
name = "teacher"
model = { type = "resnet", depth = 8 }
[[stage]]
name = "first"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher", temperature = 2 }]
model = { type = "lenet5" }
[[stage]]
name = "second"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher", temperature = 2 }]
model = { type = "lenet5" }
)";

TEST_P(TeacherCacheTest, CachedAnswersToCropsAndFlipsDoNotChangeTheResult) {
  kd::SilentProgress silence;
  const auto run_with = [&](const std::string& cache, const std::string& runs) {
    return kd::run_experiment(
        plan({"train.teacher_cache=\"" + cache + "\""}, kTwoStudents),
        {.data_root = "", .runs_folder = folder_ / runs, .fresh = false, .max_steps = 0, .arguments = {}}, silence);
  };
  const auto cached = run_with("auto", "a");
  const auto computed = run_with("off", "b");
  for (const std::size_t student : {1U, 2U}) {
    // The last batch of an epoch is smaller where answers are computed, and its sums are ordered otherwise; on a GPU
    // those of every batch are, since a pass for the cache has many more rows.
    const double rounding = GetParam() == "cuda" ? 5e-3 : 1e-4;
    EXPECT_LT(largest_difference(weights(cached.stages[student]), weights(computed.stages[student])), rounding);
  }
  EXPECT_GT(largest_difference(weights(cached.stages[1]), weights(cached.stages[2])), 1e-2);
}

TEST_P(TeacherCacheTest, TheSecondStudentFindsEveryAnswer) {
  kd::StagePlan stage = plan({}, kTwoStudents).stages[1];
  const at::Device device(GetParam() == "cuda" ? at::kCUDA : at::kCPU);
  const auto data = kd::load_training_data({.data = stage.data, .device = device});
  const kd::AugmentationChain augmentations(stage.train.augment, data.info);
  kd::AnswerCaches caches(std::int64_t{1} << 30);
  const kd::AnswerShape shape{.samples = 200, .views = augmentations.views(), .classes = data.info.classes()};
  const auto cache = caches.find("teacher", shape, 4);
  kd::FrozenNetwork teacher("teacher", kd::place_model(stage.networks[0].model, data.info, {}, {device}), {device},
                            stage.teachers[0], {});
  teacher.use_cache(cache);
  const at::Tensor index = kd::epoch_order({.own = 200}, 200, kd::RandomKey{}.with(1));
  const kd::RandomKey epoch_key = kd::RandomKey{}.with("views").with(7);
  const at::Tensor numbers = augmentations.view_numbers(index, epoch_key);
  teacher.fill_cache(data.train, augmentations, index.narrow(0, 0, 130), epoch_key, 64);
  EXPECT_EQ(cache->take_missing(index.narrow(0, 0, 130), numbers.narrow(0, 0, 130)).size(0), 0);
  teacher.fill_cache(data.train, augmentations, index, epoch_key, 64);
  EXPECT_EQ(cache->take_missing(index, numbers).size(0), 0);

  const kd::Batch batch = augmentations.make_batch(data.train, data.train.on_both(index.narrow(0, 100, 50)), epoch_key);
  const at::Tensor answers = teacher.outputs(batch, {}).logits;
  EXPECT_LT((answers - teacher.forward(batch.images, {}, kd::Gradient::kNone).logits).abs().max().item<double>(), 1e-4);
  EXPECT_EQ(caches.find("teacher", shape, 4), cache);
}

TEST_P(TeacherCacheTest, AnAnswerDoesNotDependOnWhichOthersWereMissing) {
  kd::StagePlan stage = plan({}, kTwoStudents).stages[1];
  const at::Device device(GetParam() == "cuda" ? at::kCUDA : at::kCPU);
  const auto data = kd::load_training_data({.data = stage.data, .device = device});
  const kd::AugmentationChain augmentations(stage.train.augment, data.info);
  const kd::AnswerShape shape{.samples = 200, .views = augmentations.views(), .classes = data.info.classes()};
  const at::Tensor index = at::arange(200, at::TensorOptions().dtype(at::kLong));
  const kd::RandomKey epoch_key = kd::RandomKey{}.with("views");
  std::vector<at::Tensor> answers;
  for (const at::Tensor& order :
       {index, index.flip(0), kd::epoch_order({.own = 200}, 200, epoch_key).narrow(0, 0, 77)}) {
    kd::FrozenNetwork teacher("teacher", kd::place_model(stage.networks[0].model, data.info, {}, {device}), {device},
                              stage.teachers[0], {});
    const auto cache = std::make_shared<kd::AnswerCache>(shape);
    teacher.use_cache(cache);
    teacher.fill_cache(data.train, augmentations, order, epoch_key, 64);
    teacher.fill_cache(data.train, augmentations, index, epoch_key, 64);
    const at::Tensor numbers = augmentations.view_numbers(index, epoch_key);
    answers.push_back(cache->get(index.to(device), numbers.to(device)));
  }
  EXPECT_TRUE(answers[0].equal(answers[1]));
  EXPECT_TRUE(answers[0].equal(answers[2]));
}

TEST(AnswerCaches, MakesRoomByDroppingWhatNoStageUses) {
  const kd::AnswerShape shape{.samples = 10, .views = 2, .classes = 4};  // 20 · (4 · 4 + 1) = 340 bytes
  kd::AnswerCaches caches(700);
  const auto first = caches.find("first", shape, 4);
  EXPECT_NE(caches.find("second", shape, 4), nullptr);  // not kept by anyone
  const auto third = caches.find("third", shape, 4);    // in its place
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(caches.find("first", shape, 4), first);
  EXPECT_EQ(caches.find("fourth", shape, 4), nullptr);
  EXPECT_EQ(caches.find("large", {.samples = 100, .views = 2, .classes = 4}, 4), nullptr);
}

}  // namespace
