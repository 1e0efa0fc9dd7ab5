// AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101.
//   optimizer = { type = "adamw", lr = 0.001, weight_decay = 0.05 }
#include "../adam/fused_adam.h"

namespace {

using AdamW = fused::Adam<fused::Decay::kDecoupled>;

}  // namespace

KD_REGISTER(kd::Optimizer, "adamw", AdamW, "Adam with decoupled weight decay (Loshchilov and Hutter, 2019)")
