// c10d_group.h
#include "engine/c10d_group.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>
#include <vector>

namespace kd {
namespace {

class C10dGroup final : public Group {
 public:
  explicit C10dGroup(c10::intrusive_ptr<c10d::Backend> backend) : backend_(std::move(backend)) {}

  std::int64_t rank() const override { return backend_->getRank(); }
  std::int64_t size() const override { return backend_->getSize(); }

  void sum(const std::vector<at::Tensor>& tensors) override {
    change_together(tensors, [&](std::vector<at::Tensor>& flat) { backend_->allreduce(flat)->wait(); });
  }
  void broadcast(const std::vector<at::Tensor>& tensors) override {
    change_together(tensors, [&](std::vector<at::Tensor>& flat) { backend_->broadcast(flat)->wait(); });
  }
  at::Tensor gather(const at::Tensor& rows) override {
    const std::vector<at::Tensor> counts =
        gather_equal(at::full({1}, rows.size(0), at::TensorOptions().dtype(at::kLong)));
    std::int64_t most = 0;
    for (const at::Tensor& count : counts) most = std::max(most, count.item<std::int64_t>());
    // c10d gathers tensors of one shape.
    std::vector<std::int64_t> shape = rows.sizes().vec();
    shape[0] = most;
    at::Tensor padded = at::zeros(shape, rows.options().requires_grad(false));
    padded.narrow(0, 0, rows.size(0)).copy_(rows.detach());
    std::vector<at::Tensor> parts = gather_equal(padded);
    for (std::size_t i = 0; i < parts.size(); ++i) parts[i] = parts[i].narrow(0, 0, counts[i].item<std::int64_t>());
    return at::cat(parts);
  }
  void wait() override { backend_->barrier()->wait(); }

 private:
  /// `change` in one tensor for each type, since every call costs a round of messages.
  template <class Change>
  static void change_together(const std::vector<at::Tensor>& tensors, const Change& change) {
    std::map<at::ScalarType, std::vector<at::Tensor>> by_type;
    for (const at::Tensor& tensor : tensors) by_type[tensor.scalar_type()].push_back(tensor.detach());
    for (auto& [type, same] : by_type) {
      std::vector<at::Tensor> rows;
      for (const at::Tensor& tensor : same) rows.push_back(tensor.reshape({-1}));
      std::vector<at::Tensor> flat{at::cat(rows)};
      change(flat);
      std::int64_t begin = 0;
      for (at::Tensor& tensor : same) {
        tensor.copy_(flat[0].narrow(0, begin, tensor.numel()).view(tensor.sizes()));
        begin += tensor.numel();
      }
    }
  }
  std::vector<at::Tensor> gather_equal(const at::Tensor& tensor) {
    std::vector<at::Tensor> in{tensor.contiguous()};
    std::vector<std::vector<at::Tensor>> out(1);
    for (std::int64_t i = 0; i < size(); ++i) out[0].push_back(at::zeros(tensor.sizes(), tensor.options()));
    backend_->allgather(out, in)->wait();
    return out[0];
  }

  c10::intrusive_ptr<c10d::Backend> backend_;
};

}  // namespace

std::unique_ptr<Group> join_gloo_group(const std::filesystem::path& meeting, std::int64_t rank, std::int64_t size) {
  const auto store = c10::make_intrusive<c10d::FileStore>(meeting.string(), static_cast<int>(size));
  const auto options = c10d::ProcessGroupGloo::Options::create();
  options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1", /*lazyInit=*/false));
  return std::make_unique<C10dGroup>(
      c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(rank), static_cast<int>(size), options));
}

}  // namespace kd
