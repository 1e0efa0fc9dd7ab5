// Draws the images of the data set "glyphs": shapes of a few strokes, each image a pure function of its key.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kd/random.h"

namespace glyph {

/// Format of the images.
struct Format {
  int side = 28;
  int channels = 1;
  std::uint32_t classes = 10;

  int pixels() const { return side * side; }
  std::size_t bytes() const { return static_cast<std::size_t>(channels) * static_cast<std::size_t>(pixels()); }
};

struct Point {
  float x = 0, y = 0;
};

inline float length(Point p) { return std::sqrt(p.x * p.x + p.y * p.y); }

/// A shape is a set of edges between neighbours on a lattice of 3×3 nodes: bit i stands for kEdgeList[i].
using Shape = std::uint32_t;

struct Edge {
  int from = 0, to = 0;
};

inline constexpr int kNodes = 9;
inline constexpr int kEdges = 20;

constexpr std::array<Edge, kEdges> make_edges() {
  std::array<Edge, kEdges> edges{};
  std::size_t count = 0;
  for (int from = 0; from < kNodes; ++from) {
    for (int to = from + 1; to < kNodes; ++to) {
      const int columns = to % 3 - from % 3;
      if (columns >= -1 && columns <= 1 && to / 3 - from / 3 <= 1) edges[count++] = {from, to};
    }
  }
  return edges;
}

inline constexpr std::array<Edge, kEdges> kEdgeList = make_edges();

/// Random numbers taken one after the other from one key.
class Draws {
 public:
  explicit Draws(kd::RandomKey key) : key_(key) {}

  float between(float low, float high) { return low + (high - low) * kd::random_uniform(key_, counter_++); }
  std::uint32_t below(std::uint32_t count) { return kd::random_below(key_, counter_++, count); }

 private:
  const kd::RandomKey key_;
  std::uint64_t counter_ = 0;
};

/// A random walk that takes no edge twice; it ends early where every edge of its node is taken.
inline Shape walk(Draws& draws, int steps) {
  Shape shape = 0;
  int node = static_cast<int>(draws.below(kNodes));
  for (int step = 0; step < steps; ++step) {
    const std::uint32_t choice = draws.below(kEdges);
    for (std::uint32_t i = 0; i < kEdges; ++i) {
      const std::uint32_t index = (choice + i) % kEdges;
      const Edge edge = kEdgeList[index];
      if ((shape >> index & 1U) != 0 || (edge.from != node && edge.to != node)) continue;
      shape |= 1U << index;
      node = edge.from == node ? edge.to : edge.from;
      break;
    }
  }
  return shape;
}

/// Whether the shape touches all four sides of the lattice, so that none is a shifted copy of another.
inline bool spans_lattice(Shape shape) {
  bool left = false, right = false, top = false, bottom = false;
  for (std::size_t i = 0; i < kEdges; ++i) {
    if ((shape >> i & 1U) == 0) continue;
    for (const int node : {kEdgeList[i].from, kEdgeList[i].to}) {
      left |= node % 3 == 0;
      right |= node % 3 == 2;
      top |= node / 3 == 0;
      bottom |= node / 3 == 2;
    }
  }
  return left && right && top && bottom;
}

/// The shapes of the first `count` classes, the same for every seed: any two differ in at least four edges.
inline std::vector<Shape> class_shapes(std::uint32_t count) {
  constexpr int kFewestDifferent = 4;
  std::vector<Shape> shapes;
  Draws draws(kd::RandomKey{}.with("glyph shapes"));
  while (shapes.size() < count) {
    const Shape shape = walk(draws, 5 + static_cast<int>(draws.below(2)));
    const auto too_near = [shape](Shape other) { return std::popcount(shape ^ other) < kFewestDifferent; };
    if (spans_lattice(shape) && std::none_of(shapes.begin(), shapes.end(), too_near)) shapes.push_back(shape);
  }
  return shapes;
}

/// How much of each pixel is ink, from 0 to 1.
class Coverage {
 public:
  explicit Coverage(int side) : side_(side), ink_(static_cast<std::size_t>(side) * static_cast<std::size_t>(side)) {}

  float operator[](std::size_t pixel) const { return ink_[pixel]; }

  /// A stroke with round ends, anti-aliased by the distance of pixel centres to the segment.
  void add_stroke(Point from, Point to, float half_width, float strength) {
    const float margin = half_width + 1;
    const Point along{to.x - from.x, to.y - from.y};
    const float squared_length = std::max(along.x * along.x + along.y * along.y, 1e-6F);
    for (int y = first(std::min(from.y, to.y) - margin); y < last(std::max(from.y, to.y) + margin); ++y) {
      for (int x = first(std::min(from.x, to.x) - margin); x < last(std::max(from.x, to.x) + margin); ++x) {
        const Point offset{static_cast<float>(x) - from.x, static_cast<float>(y) - from.y};
        const float t = std::clamp((offset.x * along.x + offset.y * along.y) / squared_length, 0.F, 1.F);
        const float distance = length({offset.x - t * along.x, offset.y - t * along.y});
        const float ink = strength * std::clamp(half_width + 0.5F - distance, 0.F, 1.F);
        at(x, y) = std::max(at(x, y), ink);
      }
    }
  }

  /// Removes the ink inside a disc.
  void erase_disc(Point centre, float radius) {
    for (int y = first(centre.y - radius); y < last(centre.y + radius); ++y) {
      for (int x = first(centre.x - radius); x < last(centre.x + radius); ++x) {
        const float distance = length({static_cast<float>(x) - centre.x, static_cast<float>(y) - centre.y});
        at(x, y) *= std::clamp(distance - radius + 0.5F, 0.F, 1.F);
      }
    }
  }

 private:
  int first(float position) const { return std::clamp(static_cast<int>(std::floor(position)), 0, side_); }
  int last(float position) const { return std::clamp(static_cast<int>(std::ceil(position)) + 1, 0, side_); }
  float& at(int x, int y) { return ink_[static_cast<std::size_t>(y * side_ + x)]; }

  const int side_;
  std::vector<float> ink_;
};

/// A random map from the lattice, whose nodes lie in [-1, 1]², to pixels.
class Placement {
 public:
  Placement(Draws& draws, int side, float difficulty) {
    const float half = 0.5F * static_cast<float>(side - 1);
    const float reach = 0.3F * static_cast<float>(side);
    const float angle = draws.between(-1, 1) * (0.1F + 0.6F * difficulty);
    const float shear = draws.between(-1, 1) * 0.6F * difficulty;
    const float width = reach * (1 + draws.between(-1, 1) * 0.4F * difficulty);
    const float height = reach * (1 + draws.between(-1, 1) * 0.4F * difficulty);
    const float shift = 0.22F * static_cast<float>(side) * difficulty;
    const float cosine = std::cos(angle), sine = std::sin(angle);
    x_of_x_ = cosine * width;
    x_of_y_ = (cosine * shear - sine) * height;
    y_of_x_ = sine * width;
    y_of_y_ = (sine * shear + cosine) * height;
    centre_ = {half + draws.between(-shift, shift), half + draws.between(-shift, shift)};
  }

  Point operator()(Point p) const {
    return {centre_.x + x_of_x_ * p.x + x_of_y_ * p.y, centre_.y + y_of_x_ * p.x + y_of_y_ * p.y};
  }

 private:
  float x_of_x_ = 1, x_of_y_ = 0, y_of_x_ = 0, y_of_y_ = 1;
  Point centre_;
};

inline std::array<Point, kNodes> place_nodes(Draws& draws, const Format& format, float difficulty) {
  const Placement placement(draws, format.side, difficulty);
  const float jitter = 0.5F * difficulty;
  std::array<Point, kNodes> nodes;
  for (int i = 0; i < kNodes; ++i) {
    const Point node{static_cast<float>(i % 3 - 1) + draws.between(-jitter, jitter),
                     static_cast<float>(i / 3 - 1) + draws.between(-jitter, jitter)};
    nodes[static_cast<std::size_t>(i)] = placement(node);
  }
  return nodes;
}

inline void add_distractors(Draws& draws, const Format& format, float difficulty, Coverage& coverage) {
  const float side = static_cast<float>(format.side);
  const std::uint32_t count = draws.below(1 + static_cast<std::uint32_t>(std::lround(6 * difficulty)));
  for (std::uint32_t i = 0; i < count; ++i) {
    const Point from{draws.between(0, side), draws.between(0, side)};
    const float reach = 0.4F * side;
    const Point to{from.x + draws.between(-reach, reach), from.y + draws.between(-reach, reach)};
    const float half_width = draws.between(0.3F, 1);
    coverage.add_stroke(from, to, half_width, draws.between(0.3F, 1));
  }
}

inline void add_occlusion(Draws& draws, const Format& format, float difficulty, Coverage& coverage) {
  const float side = static_cast<float>(format.side);
  const Point centre{draws.between(0, side), draws.between(0, side)};
  coverage.erase_disc(centre, draws.between(0, 0.4F) * side * difficulty);
}

/// The ink of one image: distractors below, then the shape, then a hole.
inline Coverage draw_ink(Shape shape, const Format& format, float difficulty, kd::RandomKey key) {
  Draws draws(key.with("ink"));
  Coverage coverage(format.side);
  const std::array<Point, kNodes> nodes = place_nodes(draws, format, difficulty);
  const float half_width = static_cast<float>(format.side) / 28 * (0.9F + draws.between(-1, 1) * 0.7F * difficulty);
  for (std::size_t i = 0; i < kEdges; ++i) {
    const Edge edge = kEdgeList[i];
    if ((shape >> i & 1U) == 0) continue;
    coverage.add_stroke(nodes[static_cast<std::size_t>(edge.from)], nodes[static_cast<std::size_t>(edge.to)],
                        half_width, 1);
  }
  add_distractors(draws, format, difficulty, coverage);
  add_occlusion(draws, format, difficulty, coverage);
  return coverage;
}

/// One channel's ink and paper, both in [0, 1]. The paper changes linearly over the image.
struct Tint {
  float ink = 1, paper = 0, slope_x = 0, slope_y = 0;
};

inline Tint draw_grey(Draws& draws, float difficulty) { return {.ink = 1 - draws.between(0, 0.8F) * difficulty}; }

/// A colour whose ink stands out from its paper by at least `contrast` in this channel, to either side.
inline Tint draw_colour(Draws& draws, float contrast, float difficulty) {
  Tint tint;
  tint.paper = draws.between(0, 1);
  const float room = tint.paper > 0.5F ? -tint.paper : 1 - tint.paper;
  tint.ink = tint.paper + room * draws.between(contrast, 1);
  tint.slope_x = draws.between(-0.5F, 0.5F) * difficulty;
  tint.slope_y = draws.between(-0.5F, 0.5F) * difficulty;
  return tint;
}

/// Writes one image, channels × side × side bytes.
inline void draw_image(Shape shape, const Format& format, float difficulty, kd::RandomKey key, std::uint8_t* image) {
  const Coverage coverage = draw_ink(shape, format, difficulty, key);
  Draws colours(key.with("colours"));
  const kd::RandomKey noise_key = key.with("noise");
  const float noise = 0.5F * difficulty;
  for (int channel = 0; channel < format.channels; ++channel) {
    const Tint tint = format.channels == 1 ? draw_grey(colours, difficulty) : draw_colour(colours, 0.5F, difficulty);
    for (int pixel = 0; pixel < format.pixels(); ++pixel) {
      const float x = static_cast<float>(pixel % format.side) / static_cast<float>(format.side) - 0.5F;
      const float y = static_cast<float>(pixel / format.side) / static_cast<float>(format.side) - 0.5F;
      const float paper = tint.paper + tint.slope_x * x + tint.slope_y * y;
      const std::size_t byte = static_cast<std::size_t>(channel) * static_cast<std::size_t>(format.pixels()) +
                               static_cast<std::size_t>(pixel);
      const float grain = noise * (kd::random_uniform(noise_key, byte) - 0.5F);
      const float value = paper + (tint.ink - paper) * coverage[static_cast<std::size_t>(pixel)] + grain;
      image[byte] = static_cast<std::uint8_t>(std::lround(255 * std::clamp(value, 0.F, 1.F)));
    }
  }
}

/// What one split of the data set is drawn from. Sample i is the same however many samples there are.
class Collection {
 public:
  Collection(const Format& format, float difficulty, kd::RandomKey key)
      : format_(format), difficulty_(difficulty), key_(key), shapes_(class_shapes(format.classes)) {}

  std::uint32_t label(std::uint64_t sample) const {
    return kd::random_below(key_.with("label"), sample, format_.classes);
  }
  void draw(std::uint64_t sample, std::uint8_t* image) const {
    draw_image(shapes_[label(sample)], format_, difficulty_, key_.with("image").with(sample), image);
  }

 private:
  const Format format_;
  const float difficulty_;
  const kd::RandomKey key_;
  const std::vector<Shape> shapes_;
};

}  // namespace glyph
