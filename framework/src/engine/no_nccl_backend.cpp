// nccl_backend.h, of a build that has no NCCL.
#include "engine/nccl_backend.h"
#include "kd/diagnostics.h"

namespace kd {

bool nccl_is_there() { return false; }

c10::intrusive_ptr<c10d::Backend> make_nccl(const c10::intrusive_ptr<c10d::Store>& /*store*/, std::int64_t /*rank*/,
                                            std::int64_t /*size*/, std::chrono::seconds /*timeout*/) {
  throw Error("this build of LibTorch has no NCCL");
}

}  // namespace kd
