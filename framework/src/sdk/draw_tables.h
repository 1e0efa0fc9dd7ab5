// Random numbers of an epoch for every sample of a set, drawn once and looked up in each step: a draw of its own would
// take a GPU about thirty kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "kd/api.h"
#include "kd/random.h"

namespace kd {

/// The tables of one set on one device. Not for several threads at once.
class KD_API DrawTables {
 public:
  DrawTables(std::int64_t samples, at::Device device) : samples_(samples), device_(device) {}

  /// What a table holds: its distribution, key, lanes and parameters.
  using Name = std::tuple<std::string, std::uint64_t, std::int64_t, double, double>;
  /// Draws for counters; called once, with those of all samples.
  using Draw = std::function<at::Tensor(const at::Tensor& counters)>;

  /// While it lives, this thread looks up what is drawn for the samples at `index` under keys that come from
  /// `epoch_key`.
  class KD_API Use {
   public:
    /// `tables` may be null: nothing is looked up then.
    Use(DrawTables* tables, RandomKey epoch_key, const at::Tensor& index);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    /// `more` are positions in the set also.
    void add(const at::Tensor& more) { positions_.push_back(more); }
    bool knows(const at::Tensor& counters) const;

   private:
    friend class DrawTables;
    DrawTables* tables_;
    Use* outer_;
    std::vector<at::Tensor> positions_;
  };

  /// The rows at `counters` of the table of that name, or undefined where nothing is looked up: no use in this thread,
  /// counters that are no positions of its samples, or a table that would be too large. `on_host` draws on the host,
  /// where another device would round otherwise.
  static at::Tensor look_up(const Name& name, const at::Tensor& counters, bool on_host, const Draw& draw);
  /// The use of this thread that knows `counters` as positions, or null.
  static Use* use_of(const at::Tensor& counters);

 private:
  const at::Tensor& table(const Name& name, bool on_host, const Draw& draw);

  std::int64_t samples_;
  at::Device device_;
  std::uint64_t epoch_ = 0;
  std::map<Name, at::Tensor> tables_;
};

}  // namespace kd
