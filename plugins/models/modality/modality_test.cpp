// Tests of the model "modality".
#include "kd/testing/networks.h"

namespace {

/// Logits that a network behind a modality gives for images, and those that the network alone gives for what it should
/// see of them.
struct Pair {
  Pair(const std::string& parameters, const kd::Model::Context& context, const at::Tensor& images,
       const at::Tensor& seen)
      : behind(kd::testing::make_network(
            "{ type = 'modality', model = { type = 'resnet', depth = 8 }, " + parameters + " }", context)) {
    kd::Model::Context inner = context;
    inner.channels = seen.size(1);
    inner.height = seen.size(2);
    inner.width = seen.size(3);
    const auto alone = kd::testing::make_network("{ type = 'resnet', depth = 8 }", inner);
    const torch::NoGradGuard no_gradient;
    auto from = behind->module()->named_parameters();
    for (auto& item : alone->module()->named_parameters()) item.value().copy_(from[item.key()]);
    behind->module()->eval();
    alone->module()->eval();
    given = behind->forward(images, {});
    expected = alone->forward(seen, {});
  }

  std::unique_ptr<kd::Model> behind;
  at::Tensor given, expected;
};

const kd::Model::Context kColour{.channels = 3, .height = 8, .width = 7, .classes = 4};

at::Tensor some_images() { return (torch::arange(2 * 3 * 8 * 7, at::kFloat).view({2, 3, 8, 7}) * 0.37).sin(); }

void expect_equal(const std::string& parameters, const at::Tensor& seen) {
  const Pair pair(parameters, kColour, some_images(), seen);
  EXPECT_TRUE(torch::allclose(pair.given, pair.expected, 1e-5, 1e-6)) << parameters;
  EXPECT_EQ(pair.given.sizes(), (at::IntArrayRef{2, 4}));
}

TEST(Modality, ShowsAPartOfTheImages) {
  const at::Tensor images = some_images();
  using torch::indexing::None;
  using torch::indexing::Slice;
  expect_equal("sees = 'left'", images.index({Slice(), Slice(), Slice(), Slice(None, 3)}));
  expect_equal("sees = 'right'", images.index({Slice(), Slice(), Slice(), Slice(3, None)}));
  expect_equal("sees = 'top'", images.index({Slice(), Slice(), Slice(None, 4)}));
  expect_equal("sees = 'bottom'", images.index({Slice(), Slice(), Slice(4, None)}));
  expect_equal("sees = 'channels', channels = [2, 0]", torch::stack({images.select(1, 2), images.select(1, 0)}, 1));
}

TEST(Modality, ShowsGrey) {
  const at::Tensor images = some_images();
  const at::Tensor grey = images.select(1, 0) * 0.299 + images.select(1, 1) * 0.587 + images.select(1, 2) * 0.114;
  expect_equal("sees = 'grey'", grey.unsqueeze(1));
  // Of two channels the mean.
  const kd::Model::Context two{.channels = 2, .height = 8, .width = 7, .classes = 4};
  const at::Tensor both = images.narrow(1, 0, 2);
  const Pair pair("sees = 'grey'", two, both, both.mean(1, true));
  EXPECT_TRUE(torch::allclose(pair.given, pair.expected, 1e-5, 1e-6));
}

/// The value at a place, or the nearest that there is.
double at_place(const at::Tensor& image, std::int64_t row, std::int64_t column) {
  row = std::clamp<std::int64_t>(row, 0, image.size(0) - 1);
  column = std::clamp<std::int64_t>(column, 0, image.size(1) - 1);
  return image[row][column].item<double>();
}

TEST(Modality, ShowsEdges) {
  const at::Tensor images = some_images();
  const at::Tensor grey = images.select(1, 0) * 0.299 + images.select(1, 1) * 0.587 + images.select(1, 2) * 0.114;
  at::Tensor edges = torch::zeros({2, 1, 8, 7});
  for (std::int64_t n = 0; n < 2; ++n) {
    for (std::int64_t r = 0; r < 8; ++r) {
      for (std::int64_t c = 0; c < 7; ++c) {
        double along = 0, down = 0;
        for (std::int64_t k = -1; k <= 1; ++k) {
          const double weight = k == 0 ? 2.0 / 8 : 1.0 / 8;
          along += weight * (at_place(grey[n], r + k, c + 1) - at_place(grey[n], r + k, c - 1));
          down += weight * (at_place(grey[n], r + 1, c + k) - at_place(grey[n], r - 1, c + k));
        }
        edges[n][0][r][c] = std::hypot(along, down);
      }
    }
  }
  expect_equal("sees = 'edges'", edges);
}

TEST(Modality, OfAConstantImageHasNoEdgesAndAFiniteGradient) {
  const auto model = kd::testing::make_network(
      "{ type = 'modality', sees = 'edges', model = { type = 'resnet', depth = 8 } }", kColour);
  const at::Tensor images = torch::ones({2, 3, 8, 7}).requires_grad_();
  model->forward(images, {}).sum().backward();
  EXPECT_TRUE(images.grad().isfinite().all().item<bool>());
}

TEST(Modality, HasTheNetworksWeightsFeaturesAndHead) {
  constexpr const char* kGrey = "{ type = 'modality', model = { type = 'resnet', depth = 8 } }";
  const auto behind = kd::testing::make_network(kGrey, kColour);
  const kd::Model::Context one{.channels = 1, .height = 8, .width = 7, .classes = 4};
  const auto alone = kd::testing::make_network("{ type = 'resnet', depth = 8 }", one);
  EXPECT_EQ(behind->tap_names(), alone->tap_names());
  EXPECT_EQ(behind->module()->named_parameters().keys(), alone->module()->named_parameters().keys());
  EXPECT_TRUE(behind->convolutional());
  kd::testing::expect_head(kGrey);
  kd::testing::expect_taps_change_nothing(kGrey);
}

TEST(Modality, RefusesChannelsThatAreNotThere) {
  kd::testing::expect_refusal("{ type = 'modality', sees = 'channels' }", "wants the numbers of channels");
  kd::testing::expect_refusal("{ type = 'modality', sees = 'channels', channels = [0, 7] }", "there is no channel 7");
}

}  // namespace
