// Diagrams of rectangles and text, as SVG and as pixels.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace drawings {

struct Colour {
  int red = 0, green = 0, blue = 0;
};

inline constexpr Colour kWhite{255, 255, 255}, kBlack{0, 0, 0};

/// In pixels, from the top left corner.
struct Rectangle {
  double x = 0, y = 0, width = 0, height = 0;
  Colour colour;
  std::string hint = {};  ///< what an SVG viewer shows under the pointer
};

enum class Anchor { kStart, kMiddle, kEnd };

struct Text {
  double x = 0, y = 0;  ///< of the base line, at the anchor
  std::string text;
  Anchor anchor = Anchor::kStart;
  Colour colour = kBlack;
};

inline std::string escape_xml(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

/// Glyphs of 3×5 pixels, a row of them in three bits, for the numbers on an axis.
inline std::array<int, 5> find_glyph(char c) {
  switch (c) {
    case '0':
      return {0b111, 0b101, 0b101, 0b101, 0b111};
    case '1':
      return {0b010, 0b110, 0b010, 0b010, 0b111};
    case '5':
      return {0b111, 0b100, 0b111, 0b001, 0b111};
    case '.':
      return {0b000, 0b000, 0b000, 0b000, 0b010};
    default:
      return {};
  }
}

class Drawing {
 public:
  Drawing(std::int64_t width, std::int64_t height) : width_(width), height_(height) {}

  void fill(Rectangle rectangle) { rectangles_.push_back(std::move(rectangle)); }
  /// Text of the SVG alone.
  void write(Text text) { captions_.push_back(std::move(text)); }
  /// "0", "0.5" or "1", which the pixels show also.
  void write_tick(Text text) { ticks_.push_back(std::move(text)); }

  std::string to_svg() const {
    std::ostringstream svg;
    svg << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << width_ << ' ' << height_ << "\" width=\""
        << width_ << "\" height=\"" << height_ << "\" font-family=\"sans-serif\" font-size=\"12\">\n"
        << "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
    for (const Rectangle& r : rectangles_) {
      svg << "<rect x=\"" << r.x << "\" y=\"" << r.y << "\" width=\"" << r.width << "\" height=\"" << r.height
          << "\" fill=\"" << css(r.colour) << "\">"
          << (r.hint.empty() ? "" : "<title>" + escape_xml(r.hint) + "</title>") << "</rect>\n";
    }
    for (const auto* texts : {&ticks_, &captions_}) {
      for (const Text& t : *texts) {
        static constexpr std::array<const char*, 3> kAnchors = {"start", "middle", "end"};
        svg << "<text x=\"" << t.x << "\" y=\"" << t.y << "\" text-anchor=\""
            << kAnchors[static_cast<std::size_t>(t.anchor)] << "\" fill=\"" << css(t.colour) << "\">"
            << escape_xml(t.text) << "</text>\n";
      }
    }
    svg << "</svg>\n";
    return svg.str();
  }

  /// uint8 3×height×width.
  at::Tensor to_picture() const {
    at::Tensor picture = at::full({3, height_, width_}, 255, at::kByte);
    for (const Rectangle& rectangle : rectangles_) paint(picture, rectangle);
    for (const Text& tick : ticks_) paint(picture, tick);
    return picture;
  }

 private:
  static std::string css(const Colour& colour) {
    return "rgb(" + std::to_string(colour.red) + "," + std::to_string(colour.green) + "," +
           std::to_string(colour.blue) + ")";
  }

  static void paint(at::Tensor& picture, const Rectangle& r) {
    const auto pixel = [](double position, std::int64_t end) {
      return std::clamp<std::int64_t>(std::llround(position), 0, end);
    };
    const at::Tensor colour = at::tensor({r.colour.red, r.colour.green, r.colour.blue}, at::kByte).view({3, 1, 1});
    picture.slice(1, pixel(r.y, picture.size(1)), pixel(r.y + r.height, picture.size(1)))
        .slice(2, pixel(r.x, picture.size(2)), pixel(r.x + r.width, picture.size(2)))
        .copy_(colour);
  }

  static void paint(at::Tensor& picture, const Text& text) {
    constexpr double kZoom = 2, kAdvance = 4 * kZoom;
    const double width = kAdvance * static_cast<double>(text.text.size()) - kZoom;
    double x = text.x - width * static_cast<double>(text.anchor) / 2;
    for (const char c : text.text) {
      const std::array<int, 5> glyph = find_glyph(c);
      for (int row = 0; row < 5; ++row) {
        for (int column = 0; column < 3; ++column) {
          if ((glyph[static_cast<std::size_t>(row)] >> (2 - column) & 1) == 0) continue;
          paint(picture, Rectangle{x + column * kZoom, text.y + (row - 5) * kZoom, kZoom, kZoom, text.colour});
        }
      }
      x += kAdvance;
    }
  }

  std::int64_t width_, height_;
  std::vector<Rectangle> rectangles_;
  std::vector<Text> ticks_, captions_;
};

}  // namespace drawings
