// cuda_graph.h, of a build that has no CUDA.
#include "engine/cuda_graph.h"
#include "kd/diagnostics.h"

namespace kd {

struct CudaGraph::Recorded {};

CudaGraph::CudaGraph() = default;
CudaGraph::~CudaGraph() = default;

bool CudaGraph::available() { return false; }

void CudaGraph::record(const std::function<void()>& /*work*/) { throw Error("this build cannot record CUDA graphs"); }

void CudaGraph::run() {}

void CudaGraph::clear() {}

}  // namespace kd
