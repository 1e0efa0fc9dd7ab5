// Tests of safetensors files, checkpoints and records.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "metrics/classification.h"
#include "record/checkpoint.h"
#include "record/records.h"
#include "record/safetensors.h"

namespace {

namespace fs = std::filesystem;

class RecordTest : public ::testing::Test {
 protected:
  RecordTest() : folder_(fs::temp_directory_path() / ("kdrun_record_test_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~RecordTest() override { fs::remove_all(folder_); }

  std::string error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const kd::Error& error) {
      return error.what();
    }
    return "";
  }

  const fs::path folder_;
};

TEST_F(RecordTest, SafetensorsKeepEveryTypeShapeAndBit) {
  const kd::TensorMap tensors = {{"a", at::randn({2, 3})},
                                 {"b.weight", at::randn({4}).to(at::kBFloat16)},
                                 {"c", at::arange(5)},
                                 {"empty", at::empty({0, 3})},
                                 {"scalar", at::tensor(1.5, at::kDouble)},
                                 {"channels_last", at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast)}};
  kd::write_safetensors(folder_ / "t.safetensors", tensors, {{"format", "pt"}});
  const kd::TensorMap back = kd::read_safetensors(folder_ / "t.safetensors");
  ASSERT_EQ(back.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(back.at(name).scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(back.at(name), tensor)) << name;
  }
}

TEST_F(RecordTest, DamagedSafetensorsAreRefused) {
  const fs::path file = folder_ / "t.safetensors";
  kd::write_safetensors(file, {{"a", at::randn({100})}});
  const std::string whole = kd::read_text(file);
  const auto refuse = [&](const std::string& content, const std::string& part) {
    std::ofstream(file, std::ios::binary) << content;
    EXPECT_NE(error_of([&] { kd::read_safetensors(file); }).find(part), std::string::npos) << part;
  };
  refuse("", "it is too short");
  refuse(whole.substr(0, 20), "its header is longer than the file");
  refuse(whole.substr(0, whole.size() - 1), "tensor 'a': offsets do not fit the shape or the file");
  std::string huge = whole;
  huge.replace(huge.find("[100]"), 5, "[101]");
  refuse(huge, "tensor 'a': offsets do not fit the shape or the file");
  std::string type = whole;
  type.replace(type.find("F32"), 3, "F99");
  refuse(type, "tensor 'a': unknown type F99");
  std::uint64_t length = ~0ULL;
  std::string header(reinterpret_cast<const char*>(&length), 8);
  refuse(header + "{}", "its header is longer than the file");
}

kd::Checkpoint some_checkpoint(float value) {
  return {.networks = {{"model", {{"w", at::full({3}, value)}}}},
          .training = {{"m", at::full({2}, value)}},
          .state = "{\"step\": 1}"};
}

TEST_F(RecordTest, CheckpointsRoundTripAndTheNewestIntactOneIsFound) {
  kd::write_checkpoint(folder_, 10, some_checkpoint(1));
  const fs::path newer = kd::write_checkpoint(folder_, 20, some_checkpoint(2));
  EXPECT_EQ(kd::newest_checkpoint(folder_), newer);
  const kd::Checkpoint back = kd::read_checkpoint(newer);
  EXPECT_EQ(back.networks.at("model").at("w")[0].item<float>(), 2);
  EXPECT_EQ(back.training.at("m")[0].item<float>(), 2);
  EXPECT_EQ(back.state, "{\"step\": 1}");
}

TEST_F(RecordTest, DamagedCheckpointsArePassedOver) {
  const fs::path older = kd::write_checkpoint(folder_, 10, some_checkpoint(1));
  const fs::path newer = kd::write_checkpoint(folder_, 20, some_checkpoint(2));
  std::string bytes = kd::read_text(newer / "model.safetensors");
  bytes.back() ^= 1;
  std::ofstream(newer / "model.safetensors", std::ios::binary) << bytes;
  EXPECT_NE(error_of([&] { kd::read_checkpoint(newer); }).find("damaged"), std::string::npos);
  EXPECT_EQ(kd::newest_checkpoint(folder_), older);
  fs::remove(older / "MANIFEST.json");
  EXPECT_FALSE(kd::newest_checkpoint(folder_).has_value());
}

TEST_F(RecordTest, OldCheckpointsGoAndLinkedOnesStay) {
  const fs::path best = kd::write_checkpoint(folder_, 10, some_checkpoint(1));
  const fs::path old = kd::write_checkpoint(folder_, 20, some_checkpoint(2));
  const fs::path last = kd::write_checkpoint(folder_, 30, some_checkpoint(3));
  fs::create_directories(folder_ / ".tmp-1");
  kd::replace_link(folder_ / "best", best.filename());
  kd::replace_link(folder_ / "last", last.filename());
  kd::remove_old_checkpoints(folder_);
  EXPECT_TRUE(fs::exists(best));
  EXPECT_TRUE(fs::exists(last));
  EXPECT_FALSE(fs::exists(old));
  EXPECT_FALSE(fs::exists(folder_ / ".tmp-1"));
}

TEST_F(RecordTest, RecordsRoundTripAndACutLineIsLeftOut) {
  const std::vector<kd::Record> records = {{"teacher", "model", "test", 1, 100, "top1", 0.25},
                                           {"teacher", "model", "train", 1, 100, "loss", NAN}};
  {
    kd::JsonLinesSink sink(folder_ / "metrics.jsonl");
    sink.write(records);
  }
  std::ofstream(folder_ / "metrics.jsonl", std::ios::app) << "{\"stage\": \"tea";
  const auto back = kd::read_records(folder_ / "metrics.jsonl");
  ASSERT_EQ(back.size(), 2U);
  EXPECT_EQ(back[0].name, "top1");
  EXPECT_EQ(back[0].value, 0.25);
  EXPECT_EQ(back[0].step, 100);
  EXPECT_TRUE(std::isnan(back[1].value));
}

TEST(MeasureClassification, AgreesWithNumbersByHand) {
  // Softmax of (ln 1, ln 2, ln 5) is (1/8, 2/8, 5/8).
  const at::Tensor logits = at::tensor({1.0F, 2.0F, 5.0F}).log().repeat({4, 1});
  const auto result = kd::measure_classification(logits, at::tensor({2, 2, 1, 0}, at::kLong));
  EXPECT_EQ(result.samples, 4);
  EXPECT_DOUBLE_EQ(result.top1, 0.5);
  EXPECT_DOUBLE_EQ(result.top5, 1.0);
  EXPECT_NEAR(result.nll, -(2 * std::log(5 / 8.0) + std::log(2 / 8.0) + std::log(1 / 8.0)) / 4, 1e-6);
  EXPECT_EQ(result.per_class, (std::vector<double>{0, 0, 1}));
  EXPECT_EQ(result.per_class_samples, (std::vector<std::int64_t>{1, 1, 2}));
  // All four in one bin: confidence 5/8, accuracy 1/2.
  EXPECT_NEAR(result.calibration.ece, 1 / 8.0, 1e-6);
  EXPECT_NEAR(result.calibration.oe, 5 / 8.0 / 8, 1e-6);
}

TEST(MeasureClassification, ComesBackFromItsFile) {
  const at::Tensor logits = at::arange(24, at::kFloat).sin().view({6, 4});
  const auto result = kd::measure_classification(logits, at::tensor({0, 1, 2, 0, 1, 2}, at::kLong));
  const auto back = kd::classification_from_json(nlohmann::json::parse(kd::to_json(result).dump()));
  EXPECT_EQ(kd::to_json(back).dump(), kd::to_json(result).dump());
  EXPECT_EQ(kd::calibration_measures(back.calibration), kd::calibration_measures(result.calibration));
  EXPECT_GT(back.calibration.brier, 0);
  EXPECT_TRUE(std::isnan(back.per_class[3]));
}

TEST(MeasureClassification, TopFiveAndClassesWithoutSamples) {
  const at::Tensor logits = at::arange(8, at::kFloat).repeat({2, 1});  // classes 3 … 7 are the best five
  const auto result = kd::measure_classification(logits, at::tensor({3, 2}, at::kLong));
  EXPECT_DOUBLE_EQ(result.top5, 0.5);
  EXPECT_DOUBLE_EQ(result.top1, 0.0);
  EXPECT_TRUE(std::isnan(result.per_class[7]));
}

}  // namespace
