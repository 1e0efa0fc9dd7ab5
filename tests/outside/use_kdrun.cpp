// kdrun as a library: makes the loss "kd" from text, as a recipe would, and calls it on tensors.
#include <cstdio>

#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

int main() {
  try {
    for (const std::string& refused : kd::load_plugins()) std::fprintf(stderr, "%s\n", refused.c_str());
    const auto loss = kd::make<kd::Loss>("{ type = 'kd', temperature = 2 }", {.classes = 2, .samples = 1});
    const kd::Outputs student{.logits = at::tensor({2.0F, 0.0F}).view({1, 2}), .taps = {}};
    const kd::Outputs teacher{.logits = at::tensor({0.0F, 2.0F}).view({1, 2}), .taps = {}};
    const kd::Batch batch;  // of which this loss reads nothing
    const at::Tensor value = (*loss)({.student = student, .teachers = {&teacher, 1}, .batch = batch});
    std::printf("%.5f\n", value.item<double>());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "use_kdrun: %s\n", error.what());
    return 1;
  }
}
