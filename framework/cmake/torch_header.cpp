// Carries the precompiled header of LibTorch's neural-network modules; holds no code.
