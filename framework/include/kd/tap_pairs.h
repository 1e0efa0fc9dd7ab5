// The features that a loss compares, student's with teacher's: declared, checked against what both offer, and taken
// from the outputs of a step.
//
//   struct Params : kd::TapParams {
//     static void schema(kd::Schema<Params>& s) { kd::declare_taps(s, {"stage1", "stage2", "stage3"}); }
//   };
//   explicit Attention(const Params& params, const Context& context) : taps_(params, context, kd::TapPairs::kMaps) {}
//   kd::LossNeeds needs() const override { return taps_.needs(); }
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/loss.h"
#include "kd/schema.h"

namespace kd {

/// Features by their names; those of the teacher are called as the student's where none are given.
struct KD_API TapParams {
  std::vector<std::string> taps, teacher_taps;
};

/// Declares `taps` and `teacher_taps`. `first` are those that the method was published with.
template <class Params>
void declare_taps(Schema<Params>& schema, const std::vector<std::string>& first) {
  schema.field("taps", &Params::taps, "features of the student, each compared with one of the teacher").def(first);
  schema
      .field("teacher_taps", &Params::teacher_taps,
             "features of the teacher, as many, where they are called otherwise than the student's")
      .def(std::vector<std::string>{});
}

/// The shape of a feature, without the batch: {64, 8, 8} of a map, {64} of a vector.
using FeatureShape = std::vector<std::int64_t>;

class KD_API TapPairs {
 public:
  enum Kind {
    kMaps,     ///< N×C×H×W only
    kVectors,  ///< N×D only
    kAny,
  };

  /// Throws RecipeError where a feature is not offered or not of that kind, where the lists differ in length, or where
  /// there are fewer pairs than `least`.
  TapPairs(const TapParams& params, const Loss::Context& context, Kind kind, std::size_t least = 1);

  /// A loss that compares these features.
  LossNeeds needs() const;
  std::size_t size() const { return pairs_.size(); }

  const FeatureShape& student_shape(std::size_t i) const { return pairs_[i].student_shape; }
  const FeatureShape& teacher_shape(std::size_t i) const { return pairs_[i].teacher_shape; }
  const std::string& teacher_name(std::size_t i) const { return pairs_[i].teacher; }
  /// The features of a step, in the stage's precision; the teacher's without gradient.
  const at::Tensor& student(const LossInput& input, std::size_t i) const;
  at::Tensor teacher(const LossInput& input, std::size_t i) const;
  /// The same as vectors, N×D, in fp32 and of the whole batch, where several processes share it: for losses that look
  /// across it.
  at::Tensor student_rows(const LossInput& input, std::size_t i) const;
  at::Tensor teacher_rows(const LossInput& input, std::size_t i) const;

 private:
  struct Pair {
    std::string student, teacher;
    FeatureShape student_shape, teacher_shape;
  };

  Group& group_;
  std::vector<Pair> pairs_;
};

}  // namespace kd
