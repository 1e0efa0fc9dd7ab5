// A stage's autocast, for tests.
#pragma once

#include <ATen/autocast_mode.h>

namespace kd::testing {

/// Matrix products and convolutions run in bf16 while it lives, as in a stage of that precision.
class Autocast {
 public:
  explicit Autocast(at::DeviceType type) : type_(type) {
    at::autocast::set_autocast_enabled(type_, true);
    at::autocast::set_autocast_dtype(type_, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type_, false);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  at::DeviceType type_;
};

}  // namespace kd::testing
