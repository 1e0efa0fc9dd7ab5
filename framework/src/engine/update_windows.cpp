// update_windows.h
#include "engine/update_windows.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <utility>

namespace kd {

UpdateWindows::UpdateWindows(const WindowSettings& settings, const std::vector<std::int64_t>& labels,
                             std::function<at::Tensor(std::int64_t epoch)> order)
    : settings_(settings),
      labels_(labels),
      order_(std::move(order)),
      all_labelled_(std::all_of(labels.begin(), labels.end(), [](std::int64_t label) { return label >= 0; })) {}

UpdateWindows::Rows UpdateWindows::rows(std::int64_t step) const {
  const std::int64_t before = step % settings_.batches * settings_.batch_size;
  const std::int64_t all = std::min(settings_.batch_size, settings_.samples - before);
  return {.all = all, .own = settings_.shard.count(all)};
}

UpdateWindows::Rows UpdateWindows::labelled_rows(std::int64_t step) {
  if (all_labelled_) return rows(step);
  const std::int64_t epoch = step / settings_.batches;
  auto found = labelled_.find(epoch);
  if (found == labelled_.end()) {
    while (!labelled_.empty() && labelled_.begin()->first < epoch - settings_.accumulate)
      labelled_.erase(labelled_.begin());
    const at::Tensor order = order_(epoch);
    const auto* position = order.const_data_ptr<std::int64_t>();
    const auto labelled = [this](const std::int64_t* begin, const std::int64_t* end) {
      return std::count_if(begin, end,
                           [this](std::int64_t sample) { return labels_[static_cast<std::size_t>(sample)] >= 0; });
    };
    std::vector<Rows> counts;
    for (std::int64_t batch = 0; batch < settings_.batches; ++batch) {
      const std::int64_t count = rows(batch).all;
      counts.push_back(
          {.all = labelled(position, position + count),
           .own = labelled(position + settings_.shard.begin(count), position + settings_.shard.end(count))});
      position += count;
    }
    found = labelled_.emplace(epoch, std::move(counts)).first;
  }
  return found->second[static_cast<std::size_t>(step % settings_.batches)];
}

UpdatePart UpdateWindows::part(std::int64_t step) {
  if (settings_.accumulate == 1 && settings_.shard.size == 1) return {};
  const std::int64_t begin = first_step(step);
  const std::int64_t end = std::min(begin + settings_.accumulate, std::max(settings_.steps, step + 1));
  std::int64_t all = 0, labelled = 0;
  for (std::int64_t other = begin; other < end; ++other) {
    all += rows(other).all;
    labelled += labelled_rows(other).all;
  }
  const auto share = [](std::int64_t count, std::int64_t of) {
    return of == 0 ? 0.0 : static_cast<double>(count) / static_cast<double>(of);
  };
  return {.share = share(rows(step).own, all),
          .labelled_share = share(labelled_rows(step).own, labelled),
          .last = step + 1 == end};
}

}  // namespace kd
