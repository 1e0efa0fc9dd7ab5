// draw_tables.h
#include "sdk/draw_tables.h"

#include <ATen/ops/arange.h>

#include <algorithm>

#include "data/transfer.h"

namespace kd {
namespace {

constexpr std::int64_t kMostNumbers = std::int64_t{1} << 23;  // of a table

thread_local DrawTables::Use* innermost = nullptr;

}  // namespace

DrawTables::Use::Use(DrawTables* tables, RandomKey epoch_key, const at::Tensor& index)
    : tables_(tables), outer_(innermost), positions_{index} {
  innermost = this;
  if (tables == nullptr || tables->epoch_ == epoch_key.bits) return;
  tables->tables_.clear();
  tables->epoch_ = epoch_key.bits;
}

DrawTables::Use::~Use() { innermost = outer_; }

bool DrawTables::Use::knows(const at::Tensor& counters) const {
  return std::any_of(positions_.begin(), positions_.end(),
                     [&](const at::Tensor& known) { return known.is_same(counters); });
}

DrawTables::Use* DrawTables::use_of(const at::Tensor& counters) {
  for (Use* use = innermost; use != nullptr; use = use->outer_) {
    if (use->tables_ != nullptr && use->knows(counters)) return use;
  }
  return nullptr;
}

at::Tensor DrawTables::look_up(const Name& name, const at::Tensor& counters, bool on_host, const Draw& draw) {
  const Use* use = counters.is_cpu() ? nullptr : use_of(counters);
  const std::int64_t lanes = std::get<2>(name);
  if (use == nullptr || use->tables_->samples_ * lanes > kMostNumbers) return {};
  return use->tables_->table(name, on_host, draw).index_select(0, counters);
}

const at::Tensor& DrawTables::table(const Name& name, bool on_host, const Draw& draw) {
  const auto found = tables_.find(name);
  if (found != tables_.end()) return found->second;
  const auto counters = at::TensorOptions().dtype(at::kLong);
  at::Tensor drawn = on_host ? to_device(draw(at::arange(samples_, counters)), device_)
                             : draw(at::arange(samples_, counters.device(device_)));
  return tables_.emplace(name, std::move(drawn)).first->second;
}

}  // namespace kd
