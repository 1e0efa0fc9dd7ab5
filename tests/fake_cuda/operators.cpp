// Operators of the fake CUDA device.
//
// The dispatcher's CUDA key is empty in a CPU build. Here one boxed kernel stands for all: it lends the memory of each
// device tensor to a CPU tensor, runs the operator's CPU kernel, and takes the results over without a copy. What fails
// on a GPU fails here: an operator refuses tensors of two devices, and what has no deterministic kernel is refused
// where one is demanded.
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "accounts.h"
#include "memory.h"

namespace fake_cuda {
namespace {

const c10::DispatchKeySet kCudaKey(c10::DispatchKey::CUDA), kHostKey(c10::DispatchKey::CPU);

/// The tensors of one call, lent to the host and taken back.
class Loan {
 public:
  at::Tensor lend(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_cuda()) return tensor;
    for (const auto& [device, host] : tensors_) {
      if (device.is_same(tensor)) return host;
    }
    const at::Tensor host = make_tensor(lend_storage(tensor.storage()), kHostKey, tensor);
    if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) host.unsafeGetTensorImpl()->set_wrapped_number(true);
    tensors_.emplace_back(tensor, host);
    return host;
  }

  /// What an operator returned: a tensor that was lent, a view of one, or a new one.
  at::Tensor take(const at::Tensor& result) {
    if (!result.defined() || result.is_cuda()) return result;
    for (const auto& [device, host] : tensors_) {
      if (host.is_same(result)) return device;
    }
    for (const auto& [device, host] : storages_) {
      if (!host.is_alias_of(result.storage())) continue;
      gave_view_ = true;
      return make_tensor(device, kCudaKey, result);
    }
    const c10::Storage device(c10::Storage::use_byte_size_t(), static_cast<std::int64_t>(result.storage().nbytes()),
                              hand_over(result.storage()), &device_allocator(), /*resizable=*/true);
    return make_tensor(device, kCudaKey, result);
  }

  /// Brings home what an operator changed of a tensor besides its numbers: it may have made an output larger.
  void settle() {
    for (auto& [device, host] : storages_) {
      if (host.data() == unmarked(device.data())) continue;
      device.set_nbytes(host.nbytes());
      device.set_data_ptr_noswap(hand_over(host));
    }
    for (auto& [device, host] : tensors_) {
      if (device.sizes() != host.sizes() || device.strides() != host.strides())
        device.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
    }
  }

  bool gave_view() const { return gave_view_; }

 private:
  static at::Tensor make_tensor(c10::Storage storage, c10::DispatchKeySet key, const at::Tensor& like) {
    auto tensor = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), key, like.dtype());
    tensor.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
    return tensor;
  }

  c10::Storage lend_storage(const c10::Storage& device) {
    for (const auto& [known, host] : storages_) {
      if (known.is_alias_of(device)) return host;
    }
    const c10::Storage host(c10::Storage::use_byte_size_t(), static_cast<std::int64_t>(device.nbytes()),
                            at::DataPtr(unmarked(device.data()), c10::kCPU), c10::GetCPUAllocator(),
                            /*resizable=*/true);
    storages_.emplace_back(device, host);
    return host;
  }

  std::vector<std::pair<at::Tensor, at::Tensor>> tensors_;  // of the device, and what the host sees of them
  std::vector<std::pair<c10::Storage, c10::Storage>> storages_;
  bool gave_view_ = false;
};

/// `change` of every tensor in a value; a device becomes the host.
template <class Change>
c10::IValue changed(const c10::IValue& value, const Change& change) {
  if (value.isTensor()) return change(value.toTensor());
  if (value.isDevice()) return c10::Device(c10::kCPU);
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& one : value.toTensorVector()) list.push_back(change(one));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const auto& one : value.toOptionalTensorVector()) list.push_back(one ? std::optional(change(*one)) : one);
    return list;
  }
  return value;
}

/// An estimate of the kernels that an operator takes on a GPU.
std::int64_t count_kernels(std::string_view name, c10::ArrayRef<c10::IValue> arguments) {
  static const std::map<std::string_view, std::int64_t> some{{"aten::native_batch_norm", 3},
                                                             {"aten::native_batch_norm_backward", 3},
                                                             {"aten::nll_loss_backward", 2},
                                                             {"aten::nonzero", 3},
                                                             {"aten::max_pool2d_with_indices_backward", 2},
                                                             {"aten::sort", 3},
                                                             {"aten::topk", 2}};
  constexpr std::int64_t kTensorsOfLaunch = 48;  // of an optimizer with one buffer
  if (name == "aten::convolution_backward") {
    const auto wanted = arguments.back().toBoolList();
    return std::count(wanted.begin(), wanted.end(), true);
  }
  if (arguments.front().isTensorList() && name.starts_with("aten::_"))  // _foreach_, _fused_, _amp_foreach_
    return (static_cast<std::int64_t>(arguments.front().toListRef().size()) + kTensorsOfLaunch - 1) / kTensorsOfLaunch;
  const auto found = some.find(name);
  return found == some.end() ? 1 : found->second;
}

/// Refuses what a GPU refuses, and counts the waits that an operator itself does not show.
void check(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> arguments) {
  static const std::set<std::string_view> random_order{"aten::bincount",
                                                       "aten::histc",
                                                       "aten::kthvalue",
                                                       "aten::nll_loss2d_forward",
                                                       "aten::grid_sampler_2d_backward",
                                                       "aten::_adaptive_avg_pool2d_backward",
                                                       "aten::adaptive_max_pool2d_backward"};
  static const std::set<std::string_view> reads_back{"aten::_local_scalar_dense", "aten::nonzero",  "aten::equal",
                                                     "aten::masked_select",       "aten::_unique2", "aten::bincount",
                                                     "aten::repeat_interleave"};
  const std::string& name = op.schema().name();
  if (random_order.contains(name)) at::globalContext().alertNotDeterministic(name);
  if (reads_back.contains(name)) accounts().add_wait(name);
  bool on_device = false, array = false, scalar = false;
  for (const c10::IValue& value : arguments) {
    changed(value, [&](const at::Tensor& one) {
      const bool number = one.defined() && one.unsafeGetTensorImpl()->is_wrapped_number();  // the 1 of `tensor + 1`
      if (one.defined() && !number) (one.is_cuda() ? on_device : one.dim() > 0 ? array : scalar) = true;
      return one;
    });
  }
  if (!on_device || (!array && !scalar)) return;
  if (name == "aten::index" || name == "aten::_index_put_impl_" || (name == "aten::where" && !array))
    return accounts().add_wait(name + " with an argument on the host");
  TORCH_CHECK(!array && op.hasTag(at::Tag::pointwise), "Expected all tensors to be on the same device, but ", name,
              " was given tensors on cuda:0 and on cpu");
}

/// While it lives, operators of this thread are plain ones of the host.
struct OnHost {
  c10::impl::ExcludeDispatchKeyGuard guard{c10::autograd_dispatch_keyset | c10::autocast_dispatch_keyset |
                                           c10::DispatchKeySet(c10::DispatchKey::ADInplaceOrView)};
};

void run(const c10::OperatorHandle& op, c10::DispatchKeySet /*keys*/, torch::jit::Stack* stack) {
  const c10::FunctionSchema& schema = op.schema();
  const auto last = [stack](std::size_t count) { return stack->end() - static_cast<std::ptrdiff_t>(count); };
  const c10::ArrayRef<c10::IValue> arguments(&*last(schema.arguments().size()), schema.arguments().size());
  check(op, arguments);
  const std::int64_t kernels = count_kernels(schema.name(), arguments);
  Loan loan;
  for (auto value = last(schema.arguments().size()); value != stack->end(); ++value)
    *value = changed(*value, [&](const at::Tensor& one) { return loan.lend(one); });
  {
    const OnHost host;
    op.redispatchBoxed(kHostKey, stack);
  }
  loan.settle();
  for (auto value = last(schema.returns().size()); value != stack->end(); ++value)
    *value = changed(*value, [&](const at::Tensor& one) { return loan.take(one); });
  if (loan.gave_view() || schema.name() == "aten::resize_") {
    accounts().add_view(schema.name());
  } else {
    accounts().add_operator(schema.name(), kernels);
  }
}

at::Tensor& copy(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  if (self.numel() == 0) return self;
  const bool out = !self.is_cuda(), in = !source.is_cuda();
  if (out && !(non_blocking && self.is_pinned())) accounts().add_wait("copy to the host");
  if (in && !(non_blocking && source.is_pinned())) accounts().add_wait("copy from the host");
  Loan loan;
  {
    const OnHost host;
    loan.lend(self).copy_(loan.lend(source));
  }
  accounts().add_operator("aten::copy_", 1);
  return self;
}

using Type = std::optional<at::ScalarType>;
using Layout = std::optional<at::Layout>;
using Device = std::optional<at::Device>;

at::Tensor empty(at::IntArrayRef sizes, Type type, Layout, Device, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(sizes, &device_allocator(), kCudaKey, c10::dtype_or_default(type), format);
}

at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, Type type, Layout, Device,
                         std::optional<bool>) {
  return at::detail::empty_strided_generic(sizes, strides, &device_allocator(), kCudaKey, c10::dtype_or_default(type));
}

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&run>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("copy_", &copy);
  // One operator on a GPU, where a CPU build would look for cuDNN or take it to pieces.
  for (const char* name :
       {"convolution", "convolution_backward", "_foreach_lerp_.Scalar", "_foreach_mul_.Tensor", "_foreach_mul_.Scalar",
        "_foreach_add_.Scalar", "_foreach_add_.List", "_foreach_copy_", "_foreach_norm.Scalar", "_foreach_zero_"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run>());
}

}  // namespace
}  // namespace fake_cuda
