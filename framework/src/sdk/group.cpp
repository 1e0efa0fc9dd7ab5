// kd::gather_with_gradient of kd/group.h.
#include "kd/group.h"

#include <ATen/ops/full.h>
#include <torch/csrc/autograd/custom_function.h>

namespace kd {
namespace {

/// What every process does with the rows of all is part of its objective: the gradients for them are summed.
class GatherRows : public torch::autograd::Function<GatherRows> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& rows, std::int64_t group) {
    auto* together = reinterpret_cast<Group*>(group);
    const at::Tensor counts =
        together->gather(at::full({1}, rows.size(0), at::TensorOptions().dtype(at::kLong))).contiguous();
    std::int64_t begin = 0;
    for (std::int64_t rank = 0; rank < together->rank(); ++rank) begin += counts.const_data_ptr<std::int64_t>()[rank];
    context->saved_data["group"] = group;
    context->saved_data["begin"] = begin;
    context->saved_data["count"] = rows.size(0);
    return together->gather(rows);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    auto* together = reinterpret_cast<Group*>(context->saved_data["group"].toInt());
    const at::Tensor all = gradients[0].contiguous().clone();
    together->sum({all});
    return {all.narrow(0, context->saved_data["begin"].toInt(), context->saved_data["count"].toInt()), at::Tensor()};
  }
};

}  // namespace

at::Tensor gather_with_gradient(Group& group, const at::Tensor& rows) {
  if (group.size() == 1) return rows;
  return GatherRows::apply(rows, reinterpret_cast<std::int64_t>(&group));
}

}  // namespace kd
