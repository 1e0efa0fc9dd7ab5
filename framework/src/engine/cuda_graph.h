// The kernels of a step as one CUDA graph: the host starts all of them at once.
#pragma once

#include <functional>
#include <memory>

#include "kd/api.h"

namespace kd {

class KD_API CudaGraph {
 public:
  /// Whether this build can record; it must be one against the CUDA wheel.
  static bool available();

  CudaGraph();
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  /// Records what `work` starts on this thread's stream, in the place of what was recorded before; nothing is computed.
  /// Throws what CUDA refused or `work` threw; nothing is recorded then.
  void record(const std::function<void()>& work);
  /// Computes what was recorded.
  void run();
  /// Lets go of what was recorded, and of its memory.
  void clear();

 private:
  struct Recorded;
  std::unique_ptr<Recorded> recorded_;
};

}  // namespace kd
