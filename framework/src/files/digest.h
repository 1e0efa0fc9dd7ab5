// SHA-256 of text and files.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "kd/api.h"

namespace kd {

/// SHA-256 (FIPS 180-4) of what is added, as 64 hexadecimal digits.
class KD_API Digest {
 public:
  Digest();
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  Digest& add(const void* bytes, std::size_t size);
  Digest& add(std::string_view text) { return add(text.data(), text.size()); }
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Throws kd::FileError where the file cannot be read.
KD_API std::string file_digest(const std::filesystem::path& file);

}  // namespace kd
