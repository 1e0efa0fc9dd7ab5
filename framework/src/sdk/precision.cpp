// kd::WithoutAutocast of kd/logits.h.
#include <ATen/autocast_mode.h>

#include "kd/logits.h"

namespace kd {

WithoutAutocast::WithoutAutocast(at::Device device)
    : type_(device.type()), was_on_(at::autocast::is_autocast_enabled(device.type())) {
  if (was_on_) at::autocast::set_autocast_enabled(type_, false);
}

WithoutAutocast::~WithoutAutocast() {
  if (was_on_) at::autocast::set_autocast_enabled(type_, true);
}

}  // namespace kd
