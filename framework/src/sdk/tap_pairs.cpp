// kd/tap_pairs.h
#include "kd/tap_pairs.h"

#include <fmt/format.h>

#include "kd/features.h"

namespace kd {
namespace {

const FeatureShape& checked_shape(const TapShapes& shapes, const std::string& tap, const std::string& whose,
                                  TapPairs::Kind kind) {
  const FeatureShape& shape = shape_of(shapes, tap, whose);
  const bool is_map = shape.size() == 3;
  if (kind == TapPairs::kAny || is_map == (kind == TapPairs::kMaps)) return shape;
  throw RecipeError({},
                    fmt::format("the feature '{}' of the {} is a {}, and this loss compares {}", tap, whose,
                                is_map ? "map" : "vector", is_map ? "vectors" : "maps"),
                    is_map ? "'pooled' is a vector in every network" : "kdrun describe model NAME shows the maps");
}

}  // namespace

TapPairs::TapPairs(const TapParams& params, const Loss::Context& context, Kind kind, std::size_t least)
    : group_(*context.group) {
  const std::vector<std::string>& of_teacher = params.teacher_taps.empty() ? params.taps : params.teacher_taps;
  if (of_teacher.size() != params.taps.size()) {
    throw RecipeError(
        {}, fmt::format("taps names {} feature(s) and teacher_taps {}", params.taps.size(), of_teacher.size()),
        "name one of the teacher for each of the student");
  }
  if (params.taps.size() < least)
    throw RecipeError(
        fmt::format("taps names {} feature(s), and this loss needs {} or more", params.taps.size(), least));
  for (std::size_t i = 0; i < params.taps.size(); ++i) {
    pairs_.push_back({params.taps[i], of_teacher[i], checked_shape(context.student, params.taps[i], "student", kind),
                      checked_shape(context.teacher().taps, of_teacher[i], "teacher", kind)});
  }
}

LossNeeds TapPairs::needs() const {
  LossNeeds needs{.teacher = true};
  for (const Pair& pair : pairs_) {
    needs.student_taps.push_back(pair.student);
    needs.teacher_taps.push_back(pair.teacher);
  }
  return needs;
}

const at::Tensor& TapPairs::student(const LossInput& input, std::size_t i) const {
  return input.student.taps.at(pairs_[i].student);
}

at::Tensor TapPairs::teacher(const LossInput& input, std::size_t i) const {
  return input.teacher().taps.at(pairs_[i].teacher).detach();
}

at::Tensor TapPairs::student_rows(const LossInput& input, std::size_t i) const {
  return gather_with_gradient(group_, flat(precise(student(input, i))));
}

at::Tensor TapPairs::teacher_rows(const LossInput& input, std::size_t i) const {
  return group_.gather(flat(precise(teacher(input, i))));
}

}  // namespace kd
