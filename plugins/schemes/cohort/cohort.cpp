// A cohort of networks of any kinds, each of which learns from every peer or from the peers together: strategies DML
// and DML_e of Zhang et al., CVPR 2018, arXiv 1706.00384.
//
// KL(p_l‖p_k) has the gradient p_k − p_l by the logits, which is linear in p_l: at one temperature both strategies
// train alike with target = "posterior_mean", and only the logged losses differ.
//   scheme = { type = "cohort", mimicry_weight = 1.0 }
#include "../shared/peers.h"

namespace {

class Cohort final : public peers::PeerScheme {
 public:
  struct Params : peers::Options {
    static void schema(kd::Schema<Params>& s) {
      peers::declare(s);
      s.choice<peers::Strategy>("strategy", &Params::strategy,
                                {{"each_peer", peers::Strategy::kEachPeer}, {"ensemble", peers::Strategy::kEnsemble}},
                                "mimicry of each peer, and the mean of the losses (DML, strategy 1); or of the peers "
                                "together, one loss (DML_e, strategy 2)")
          .def("each_peer");
      s.choice<peers::Target>("target", &Params::target,
                              {{"posterior_mean", peers::Target::kPosteriorMean},
                               {"logit_mean", peers::Target::kLogitMean},
                               {"include_self", peers::Target::kIncludeSelf}},
                              "with strategy = 'ensemble', what the peers say together: the mean of their posteriors; "
                              "of their logits; or of all posteriors, the network's own among them")
          .def("posterior_mean");
      s.field("target_temperature", &Params::target_temperature,
              "with strategy = 'ensemble', T of the posteriors that are averaged; the temperature of the mimicry")
          .def(1.0)
          .above(0);
      s.field("feature_l2", &Params::feature_l2,
              "weight of the squared distance between pooled features, which must be of one width; 0: none")
          .def(0.0)
          .at_least(0);
    }
  };

  explicit Cohort(const Params& params) : PeerScheme(params) {}
};

}  // namespace

KD_REGISTER(kd::Scheme, "cohort", Cohort, "networks of any kinds learn from labels and from their cohort")
