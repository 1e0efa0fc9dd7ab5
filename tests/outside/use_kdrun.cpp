// kdrun as a library: makes the loss "kd" from text, as a recipe would, and calls it on tensors.
#include <ATen/ops/tensor.h>

#include <cstdio>

#include "kd/loss.h"
#include "kd/plugin.h"

int main() {
  try {
    for (const std::string& refused : kd::load_plugins()) std::fprintf(stderr, "%s\n", refused.c_str());
    const auto loss = kd::make<kd::Loss>("{ type = 'kd', temperature = 2 }", {.classes = 2, .samples = 1});
    const kd::Outputs student{.logits = at::tensor({2.0F, 0.0F}).view({1, 2}), .taps = {}};
    const kd::Outputs teacher{.logits = at::tensor({0.0F, 2.0F}).view({1, 2}), .taps = {}};
    const kd::Targets targets{.labels = at::tensor({1L}), .partner = {}, .weight = {}};
    const at::Tensor index = at::tensor({0L});
    const at::Tensor value =
        (*loss)({.student = student, .teacher = &teacher, .targets = targets, .index = index, .time = {}});
    std::printf("%.5f\n", value.item<double>());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "use_kdrun: %s\n", error.what());
    return 1;
  }
}
