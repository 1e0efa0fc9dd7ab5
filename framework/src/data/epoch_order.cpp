// epoch_order.h: counter-based, so that an epoch can be gone on with anywhere.
#include "data/epoch_order.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "data/shuffle.h"

namespace kd {
namespace {

std::vector<std::int64_t> shuffled(std::int64_t first, std::int64_t count, RandomKey key) {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(count));
  std::iota(positions.begin(), positions.end(), first);
  shuffle(positions, key);
  return positions;
}

/// One after the other of the other source's samples, each once in a round.
class Rounds {
 public:
  Rounds(const SampleSources& sources, RandomKey key) : sources_(sources), key_(key) {}

  std::int64_t next() {
    if (place_ == round_.size()) {
      round_ = shuffled(sources_.own, sources_.others, key_.with(rounds_++));
      place_ = 0;
    }
    return round_[place_++];
  }

 private:
  const SampleSources& sources_;
  const RandomKey key_;
  std::vector<std::int64_t> round_;
  std::size_t place_ = 0;
  std::uint64_t rounds_ = 0;
};

}  // namespace

std::int64_t SampleSources::others_in(std::int64_t rows) const {
  if (others == 0) return 0;
  if (share == 1) return rows;
  const auto wanted = static_cast<std::int64_t>(std::llround(share * static_cast<double>(rows)));
  return std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(1, rows - 1));
}

std::int64_t SampleSources::rows(std::int64_t batch_size) const {
  if (others == 0) return own;
  if (share == 1) return others;
  const std::int64_t own_in_batch = std::max<std::int64_t>(1, batch_size - others_in(batch_size));
  const std::int64_t whole = own / own_in_batch, left = own % own_in_batch;
  // The last batch has others in the proportion of the whole ones.
  return whole * batch_size + (left * batch_size + own_in_batch - 1) / own_in_batch;
}

at::Tensor epoch_order(const SampleSources& sources, std::int64_t batch_size, RandomKey epoch_key) {
  const RandomKey key = epoch_key.with("order");
  const std::vector<std::int64_t> own = shuffled(0, sources.own, key);
  const std::int64_t rows = sources.rows(batch_size);
  at::Tensor order = at::empty({rows}, at::TensorOptions().dtype(at::kLong));
  auto* positions = order.mutable_data_ptr<std::int64_t>();
  if (sources.others == 0) {
    std::copy(own.begin(), own.end(), positions);
    return order;
  }
  Rounds others(sources, key.with("others"));
  std::size_t taken = 0;
  for (std::int64_t begin = 0; begin < rows; begin += batch_size) {
    const std::int64_t count = std::min(batch_size, rows - begin);
    const std::int64_t own_here =
        std::min(batch_size - sources.others_in(batch_size), sources.own - static_cast<std::int64_t>(taken));
    const std::int64_t others_here = count - own_here;
    for (std::int64_t row = 0; row < count; ++row) {
      const bool is_other = (row + 1) * others_here / count > row * others_here / count;
      positions[begin + row] = is_other ? others.next() : own[taken++];
    }
  }
  return order;
}

}  // namespace kd
