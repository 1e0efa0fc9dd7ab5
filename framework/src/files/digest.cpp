// digest.h on OpenSSL.
#include "files/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <vector>

#include "kd/diagnostics.h"

namespace kd {

struct Digest::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Digest::Digest() : state_(std::make_unique<State>()) {
  if (EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) throw Error("OpenSSL offers no SHA-256");
}
Digest::~Digest() = default;

Digest& Digest::add(const void* bytes, std::size_t size) {
  EVP_DigestUpdate(state_->context, bytes, size);
  return *this;
}

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  EVP_DigestFinal_ex(state_->context, bytes.data(), &size);
  return fmt::format("{:02x}", fmt::join(bytes.begin(), bytes.begin() + size, ""));
}

std::string file_digest(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw FileError("cannot read " + file.string());
  Digest digest;
  std::vector<char> buffer(1 << 20);
  while (stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || stream.gcount() > 0) {
    digest.add(buffer.data(), static_cast<std::size_t>(stream.gcount()));
  }
  return digest.hex();
}

}  // namespace kd
