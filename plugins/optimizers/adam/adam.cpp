// Adam: Kingma and Ba, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980.
//   optimizer = { type = "adam", lr = 0.001 }
#include "fused_adam.h"

namespace {

using Adam = fused::Adam<fused::Decay::kPenalty>;

}  // namespace

KD_REGISTER(kd::Optimizer, "adam", Adam, "Adam (Kingma and Ba, 2015); weight decay is part of the gradient")
