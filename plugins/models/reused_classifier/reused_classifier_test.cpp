// Tests of the model "reused_classifier".
#include "kd/testing/networks.h"

namespace {

constexpr const char* kSmall =
    "{ type = 'reused_classifier', backbone = { type = 'resnet', depth = 8 }, channels = 12, size = 2 }";

TEST(ReusedClassifier, OffersTheBackbonesFeaturesAndItsOwn) {
  EXPECT_EQ(kd::testing::describe_taps(kSmall, kd::testing::kSmallImages),
            "stem 16x16x16\nstage1_pre 16x16x16\nstage1 16x16x16\nstage2_pre 32x8x8\nstage2 32x8x8\n"
            "stage3_pre 64x4x4\nstage3 64x4x4\ntransferred 12x2x2\npooled 12\nlogits 10\n");
}

TEST(ReusedClassifier, HasTheClassifierUnderTheTeachersName) {
  const auto model =
      kd::testing::make_network("{ type = 'reused_classifier', channels = 256, classifier = 'linear', factor = 4 }");
  const auto parameters = model->module()->named_parameters();
  EXPECT_EQ(parameters["linear.weight"].sizes(), (at::IntArrayRef{100, 256}));
  EXPECT_EQ(parameters["transfer.0.weight"].sizes(), (at::IntArrayRef{64, 64, 1, 1}));
  EXPECT_EQ(parameters["transfer.3.weight"].sizes(), (at::IntArrayRef{64, 64, 3, 3}));
  EXPECT_EQ(parameters["transfer.6.weight"].sizes(), (at::IntArrayRef{256, 64, 1, 1}));
  EXPECT_TRUE(parameters.contains("backbone.layer1.0.conv1.weight"));
}

TEST(ReusedClassifier, ClassifiesTheMeanOfItsMap) {
  kd::testing::expect_head(kSmall);
  kd::testing::expect_taps_change_nothing(kSmall);
}

TEST(ReusedClassifier, LeavesTheBackbonesStatisticsAlone) {
  const auto model = kd::testing::make_network(kSmall, kd::testing::kSmallImages);
  EXPECT_TRUE(model->module()->named_buffers()["backbone.bn1.running_mean"].eq(0).all().item<bool>());
  EXPECT_TRUE(model->module()->is_training());
}

TEST(ReusedClassifier, NamesTheFeaturesOfTheBackbone) {
  kd::testing::expect_refusal("{ type = 'reused_classifier', tap = 'stage9' }", "the backbone has no feature 'stage9'");
  kd::testing::expect_refusal("{ type = 'reused_classifier', tap = 'pooled' }", "is no map");
}

}  // namespace
