// accounts.h
#include "accounts.h"

#include <cstdio>

namespace fake_cuda {

thread_local c10::StreamId current_stream = 0;

void Accounts::write() {
  const std::lock_guard lock(mutex_);
  const char* const name = std::getenv("FAKE_CUDA_REPORT");
  if (name == nullptr || operators_ == 0) return;  // none: a shell, say, that only started the program
  std::FILE* const file = std::fopen(name, "w");
  if (file == nullptr) return;
  std::fprintf(file, "operators %ld kernels %ld views %ld waits %ld default_stream %ld bytes %ld most_bytes %ld\n",
               operators_, kernels_, views_, waits_, on_default_stream_, bytes_, most_bytes_);
  std::fputs(events_.c_str(), file);
  std::fclose(file);
}

Accounts& accounts() {
  static auto* const all = new Accounts;
  return *all;
}

}  // namespace fake_cuda
