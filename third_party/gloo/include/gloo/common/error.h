// Declarations of Gloo for LibTorch's ProcessGroupGloo.hpp: LibTorch's wheel holds Gloo's code and not its headers. The
// names are Gloo's (github.com/pytorch/gloo, BSD 3-clause); what is not named by that header is left out.
#pragma once
