// cuda_graph.h, of a build against the CUDA wheel.
#include "engine/cuda_graph.h"

#include <ATen/cuda/CUDAGraph.h>

#include <exception>

namespace kd {

struct CudaGraph::Recorded {
  at::cuda::CUDAGraph graph;
};

CudaGraph::CudaGraph() = default;
CudaGraph::~CudaGraph() = default;

bool CudaGraph::available() { return true; }

void CudaGraph::record(const std::function<void()>& work) {
  clear();
  auto recorded = std::make_unique<Recorded>();
  // Threads that read images may take pinned memory meanwhile, which a recording in the global mode would not survive.
  recorded->graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  std::exception_ptr error;
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  try {
    recorded->graph.capture_end();
  } catch (...) {
    if (!error) error = std::current_exception();
  }
  if (error) std::rethrow_exception(error);
  recorded_ = std::move(recorded);
}

void CudaGraph::run() { recorded_->graph.replay(); }

void CudaGraph::clear() { recorded_.reset(); }

}  // namespace kd
