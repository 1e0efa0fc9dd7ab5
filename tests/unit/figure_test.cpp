// Tests of figures: what they show as numbers, and that the pictures show it.
#include "kd/figure.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kd/diagnostics.h"
#include "report/figure_views.h"

namespace {

kd::Figure make_figure() {
  kd::Curve curve{.name = "student", .x = {1, 2, 3}, .y = {0.5, 0.25, 0.125}, .spread = {0.1, 0.1, 0.05}};
  kd::Bars bars{.name = "share", .left = {0, 1}, .right = {1, 2}, .bottom = {}, .top = {3, 4}};
  kd::HeatMap map{.values = {{0, 0.5}, {1, 0.25}}};
  kd::Images images{.images = {{.width = 2, .height = 2, .channels = 1, .pixels = {0, 255, 128, 3}, .caption = "7"}}};
  return {.name = "all",
          .title = "Everything that a figure can show",
          .panels = {{.title = "loss",
                      .x = {.title = "epoch"},
                      .y = {.title = "nats", .logarithmic = true},
                      .marks = {curve}},
                     {.title = "bars", .x = {.title = "bin"}, .y = {.title = "count"}, .marks = {bars}},
                     {.title = "map", .x = {.categories = {"a", "b"}}, .y = {.categories = {"c", "d"}}, .marks = {map}},
                     {.title = "digits", .marks = {images}}},
          .columns = 2};
}

TEST(Figure, IsDrawnAsSvgAndAsPng) {
  const std::string svg = kd::to_svg(make_figure());
  EXPECT_NE(svg.find("<svg"), std::string::npos);
  EXPECT_NE(svg.find("</svg>"), std::string::npos);
  const std::string png = kd::to_png(make_figure());
  EXPECT_EQ(png.substr(1, 3), "PNG");
  EXPECT_EQ(png, kd::to_png(make_figure())) << "the same numbers give the same bytes";
  kd::Figure other = make_figure();
  std::get<kd::Curve>(other.panels[0].marks[0]).y[1] = 0.3;
  EXPECT_NE(png, kd::to_png(other));
}

TEST(Figure, KeepsItsNumbers) {
  const auto json = nlohmann::json::parse(kd::to_json(make_figure()));
  EXPECT_EQ(json.at("panels").size(), 4U);
  const auto& curve = json.at("panels")[0].at("marks")[0];
  EXPECT_EQ(curve.at("curve"), "student");
  EXPECT_EQ(curve.at("y"), (std::vector<double>{0.5, 0.25, 0.125}));
  EXPECT_EQ(json.at("panels")[2].at("marks")[0].at("heat_map")[1][0], 1);
}

TEST(Figure, RefusesWhatContradictsItself) {
  const auto expect_refusal = [](const kd::Mark& mark, const std::string& text) {
    try {
      kd::to_svg({.name = "bad", .title = "", .panels = {{.marks = {mark}}}});
      FAIL() << text;
    } catch (const kd::Error& error) {
      EXPECT_EQ(error.what(), "figure 'bad': " + text);
    }
  };
  expect_refusal(kd::Curve{.name = "", .x = {1, 2}, .y = {1}}, "a curve has as many x as y");
  expect_refusal(kd::Bars{.name = "", .left = {1}, .right = {}, .bottom = {}, .top = {1}},
                 "bars have as many left and right as top");
  expect_refusal(kd::HeatMap{.values = {{1, 2}, {1}}}, "rows of a heat map are as wide as the first");
  expect_refusal(kd::Images{.images = {{.width = 2, .height = 2, .channels = 1, .pixels = {1}}}},
                 "an image has width · height · channels bytes");
}

TEST(Figure, TicksAreRoundNumbers) {
  EXPECT_EQ(kd::axis_ticks(0, 1, false), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  EXPECT_EQ(kd::axis_ticks(-3, 47, false), (std::vector<double>{0, 10, 20, 30, 40}));
  EXPECT_EQ(kd::axis_ticks(2, 3000, true), (std::vector<double>{10, 100, 1000}));
  EXPECT_EQ(kd::axis_ticks(0.04, 0.8, true), (std::vector<double>{0.05, 0.1, 0.2, 0.5}));
}

}  // namespace
