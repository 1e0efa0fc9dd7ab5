// Deep mutual learning: each network learns from labels and from each of its peers (Zhang et al., CVPR 2018,
// arXiv 1706.00384).
//   scheme = { type = "mutual", mimicry = [{ type = "kd", temperature = 1 }], order = "alternating" }
#include "../shared/peers.h"

namespace {

class Mutual final : public peers::PeerScheme {
 public:
  struct Params : peers::Options {
    static void schema(kd::Schema<Params>& s) { peers::declare(s); }
  };

  explicit Mutual(const Params& params) : PeerScheme(params) {}
};

}  // namespace

KD_REGISTER(kd::Scheme, "mutual", Mutual, "networks learn from labels and from each other (Zhang et al., 2018)")
