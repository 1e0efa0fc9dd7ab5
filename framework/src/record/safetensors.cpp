// safetensors.h: the reader trusts nothing in the file.
#include "record/safetensors.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

constexpr std::array<std::pair<const char*, at::ScalarType>, 9> kTypes{{{"F64", at::kDouble},
                                                                        {"F32", at::kFloat},
                                                                        {"F16", at::kHalf},
                                                                        {"BF16", at::kBFloat16},
                                                                        {"I64", at::kLong},
                                                                        {"I32", at::kInt},
                                                                        {"I16", at::kShort},
                                                                        {"U8", at::kByte},
                                                                        {"BOOL", at::kBool}}};

const char* type_label(at::ScalarType type) {
  for (const auto& [label, scalar] : kTypes) {
    if (scalar == type) return label;
  }
  throw Error(fmt::format("safetensors has no type for {}", c10::toString(type)));
}

at::ScalarType scalar_type(const std::string& label) {
  for (const auto& [known, scalar] : kTypes) {
    if (label == known) return scalar;
  }
  throw FileError("unknown type " + label);
}

at::Tensor read_tensor(const nlohmann::json& entry, std::string_view data) {
  const at::ScalarType type = scalar_type(entry.at("dtype").get<std::string>());
  const auto shape = entry.at("shape").get<std::vector<std::int64_t>>();
  const auto begin = entry.at("data_offsets").at(0).get<std::uint64_t>();
  const auto end = entry.at("data_offsets").at(1).get<std::uint64_t>();
  std::uint64_t size = c10::elementSize(type);
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size))
      throw FileError("impossible shape");
  }
  if (begin > end || end > data.size() || end - begin != size)
    throw FileError("offsets do not fit the shape or the file");
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(type));
  if (size > 0) std::memcpy(tensor.mutable_data_ptr(), data.data() + begin, size);
  return tensor;
}

}  // namespace

std::string to_safetensors(const TensorMap& tensors, const std::map<std::string, std::string>& metadata) {
  nlohmann::json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  std::vector<at::Tensor> plain;
  for (const auto& [name, tensor] : tensors) {
    plain.push_back(tensor.detach().to(at::kCPU).contiguous());
    const std::uint64_t size = plain.back().nbytes();
    header[name] = {{"dtype", type_label(tensor.scalar_type())},
                    {"shape", std::vector<std::int64_t>(tensor.sizes().begin(), tensor.sizes().end())},
                    {"data_offsets", {offset, offset + size}}};
    offset += size;
  }
  std::string text = header.empty() ? "{}" : header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data starts aligned
  const std::uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  bytes.reserve(sizeof length + text.size() + offset);
  bytes += text;
  for (const at::Tensor& tensor : plain)
    bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  return bytes;
}

void write_safetensors(const std::filesystem::path& file, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_file(file, to_safetensors(tensors, metadata));
}

TensorMap from_safetensors(std::string_view bytes, const std::string& source) {
  const auto fail = [&source](const std::string& why) -> FileError {
    return FileError(source + " is no intact safetensors file: " + why);
  };
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) throw fail("it is too short");
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > bytes.size() - sizeof length) throw fail("its header is longer than the file");
  const std::string_view data = bytes.substr(sizeof length + length);
  TensorMap tensors;
  try {
    const auto header = nlohmann::json::parse(bytes.begin() + sizeof length,
                                              bytes.begin() + sizeof length + static_cast<std::ptrdiff_t>(length));
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      try {
        tensors[name] = read_tensor(entry, data);
      } catch (const FileError& error) {
        throw fail("tensor '" + name + "': " + error.what());
      }
    }
  } catch (const nlohmann::json::exception& error) {
    throw fail(error.what());
  }
  return tensors;
}

TensorMap read_safetensors(const std::filesystem::path& file) {
  return from_safetensors(read_text(file), file.string());
}

}  // namespace kd
