// figure_views.h: the numbers of a figure.
#include <cmath>
#include <nlohmann/json.hpp>

#include "report/figure_views.h"

namespace kd {
namespace {

nlohmann::ordered_json to_json(const std::vector<double>& numbers) {
  nlohmann::ordered_json all = nlohmann::json::array();
  for (const double number : numbers)
    all.push_back(std::isfinite(number) ? nlohmann::ordered_json(number) : nlohmann::ordered_json(nullptr));
  return all;
}

nlohmann::ordered_json to_json(const Axis& axis) {
  nlohmann::ordered_json json{{"title", axis.title}};
  if (axis.low) json["low"] = *axis.low;
  if (axis.high) json["high"] = *axis.high;
  if (axis.logarithmic) json["logarithmic"] = true;
  if (!axis.categories.empty()) json["categories"] = axis.categories;
  return json;
}

const char* name_of(Curve::Style style) {
  return style == Curve::Style::kPoints   ? "points"
         : style == Curve::Style::kDashed ? "dashed"
         : style == Curve::Style::kDotted ? "dotted"
                                          : "";
}

nlohmann::ordered_json to_json(const Mark& mark) {
  if (const auto* curve = std::get_if<Curve>(&mark)) {
    nlohmann::ordered_json json{{"curve", curve->name}, {"x", to_json(curve->x)}, {"y", to_json(curve->y)}};
    if (!curve->spread.empty()) json["spread"] = to_json(curve->spread);
    if (const char* style = name_of(curve->style); *style != '\0') json["style"] = style;
    if (curve->colour >= 0) json["colour"] = curve->colour;
    return json;
  }
  if (const auto* bars = std::get_if<Bars>(&mark)) {
    nlohmann::ordered_json json{{"bars", bars->name}, {"left", to_json(bars->left)}, {"right", to_json(bars->right)}};
    if (!bars->bottom.empty()) json["bottom"] = to_json(bars->bottom);
    json["top"] = to_json(bars->top);
    return json;
  }
  if (const auto* map = std::get_if<HeatMap>(&mark)) {
    nlohmann::ordered_json rows = nlohmann::json::array();
    for (const auto& row : map->values) rows.push_back(to_json(row));
    return {{"heat_map", rows}};
  }
  nlohmann::ordered_json captions = nlohmann::json::array();
  for (const Image& image : std::get<Images>(mark).images) captions.push_back(image.caption);
  return {{"images", captions}};
}

}  // namespace

std::string to_json(const Figure& figure) {
  nlohmann::ordered_json panels = nlohmann::json::array();
  for (const Panel& panel : figure.panels) {
    nlohmann::ordered_json marks = nlohmann::json::array();
    for (const Mark& mark : panel.marks) marks.push_back(to_json(mark));
    panels.push_back({{"title", panel.title}, {"x", to_json(panel.x)}, {"y", to_json(panel.y)}, {"marks", marks}});
    if (!panel.notes.empty()) panels.back()["notes"] = panel.notes;
  }
  const nlohmann::ordered_json json{{"name", figure.name}, {"title", figure.title}, {"panels", panels}};
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace kd
