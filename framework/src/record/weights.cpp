// weights.h
#include "record/weights.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "record/pickle.h"

namespace kd {
namespace {

constexpr std::array kStateDictKeys = {"model", "state_dict", "model_state_dict", "net"};
constexpr std::string_view kParallelPrefix = "module.";

/// How many elements of that type `bytes` hold; more than that is a lie of the file.
void check_count(std::int64_t count, at::ScalarType type, std::size_t bytes) {
  if (static_cast<std::uint64_t>(count) > bytes / at::elementSize(type))
    throw FileError("it is truncated: a tensor has more elements than the file has bytes");
}

at::Tensor copy_elements(const void* data, at::ScalarType type, std::int64_t count) {
  at::Tensor storage = at::empty({count}, at::TensorOptions().dtype(type));
  if (count > 0) std::memcpy(storage.mutable_data_ptr(), data, storage.nbytes());
  return storage;
}

/// What `state_dict` maps names to; empty where it is no dictionary of tensors.
TensorMap tensors_of(const PickleValue& dict) {
  TensorMap tensors;
  for (const auto& [key, value] : dict.entries) {
    if (key->kind != PickleValue::Kind::kString || !value->is_tensor()) continue;
    if (printable(key->text) != key->text)
      throw FileError("it is damaged: a name in it is '" + printable(key->text) + "'");
    tensors[key->text] = value->tensor.contiguous();
  }
  return tensors;
}

TensorMap find_state_dict(const PickleValue& root) {
  if (!root.is_dict()) throw FileError("it holds no dictionary");
  std::string keys;
  for (const char* wanted : kStateDictKeys) {
    for (const auto& [key, value] : root.entries) {
      if (key->text != wanted || !value->is_dict()) continue;
      if (TensorMap tensors = tensors_of(*value); !tensors.empty()) return tensors;
    }
  }
  TensorMap tensors = tensors_of(root);
  if (tensors.size() == root.entries.size() && !tensors.empty()) return tensors;
  for (const auto& [key, value] : root.entries) keys += (keys.empty() ? "" : ", ") + printable(key->text);
  throw FileError(fmt::format("it holds no state dict, neither bare nor under {}; its keys are: {}",
                              fmt::join(kStateDictKeys, ", "), keys));
}

TensorMap read_zip(const std::filesystem::path& file) {
  caffe2::serialize::PyTorchStreamReader reader(file.string());
  const std::uintmax_t bytes = std::filesystem::file_size(file);
  const auto record = [&](const std::string& name) {
    if (!reader.hasRecord(name)) throw FileError("it is damaged or no file of torch.save: it lacks " + name);
    // A compressed entry may claim any size; torch.save compresses nothing.
    if (reader.getRecordSize(name) > bytes) throw FileError("its entry " + name + " is compressed or damaged");
    return reader.getRecord(name);
  };
  if (reader.hasRecord("byteorder")) {
    const auto [data, size] = record("byteorder");
    if (std::string_view(static_cast<const char*>(data.get()), size) != "little")
      throw FileError("it was written on a big-endian machine");
  }
  std::map<std::string, at::Tensor> storages;
  Unpickler unpickler([&](const std::string& key, at::ScalarType type, std::int64_t count) {
    at::Tensor& storage = storages[key];
    if (!storage.defined()) {
      const auto [data, size] = record("data/" + key);
      check_count(count, type, size);
      storage = copy_elements(data.get(), type, count);
    }
    return storage;
  });
  const auto [data, size] = record("data.pkl");
  std::string_view pickle(static_cast<const char*>(data.get()), size);
  return find_state_dict(unpickler.read(pickle));
}

/// The container before PyTorch 1.6: a magic number, a version, facts of the machine, the object and the keys of its
/// storages as pickles, then each storage's number of elements and its bytes.
TensorMap read_legacy(std::string_view content) {
  std::map<std::string, at::Tensor> storages;
  const std::size_t bytes = content.size();
  Unpickler unpickler([&](const std::string& key, at::ScalarType type, std::int64_t count) {
    at::Tensor& storage = storages[key];
    if (!storage.defined()) {
      check_count(count, type, bytes);
      storage = at::empty({count}, at::TensorOptions().dtype(type));
    }
    return storage;
  });
  const auto skip = [&] { Unpickler({}).read(content); };
  skip();  // the version of the container, 1001 ever since
  skip();  // facts of the machine
  const PickleValue& root = unpickler.read(content);
  const PickleValue& keys = unpickler.read(content);
  for (const PickleValue* key : keys.items) {
    const auto storage = storages.find(key->text);
    std::int64_t count = -1;
    if (content.size() >= sizeof count) std::memcpy(&count, content.data(), sizeof count);
    if (storage == storages.end() || count != storage->second.numel() ||
        content.size() - sizeof count < storage->second.nbytes()) {
      throw FileError("it is truncated or damaged");
    }
    content.remove_prefix(sizeof count);
    std::memcpy(storage->second.mutable_data_ptr(), content.data(), storage->second.nbytes());
    content.remove_prefix(storage->second.nbytes());
  }
  return find_state_dict(root);
}

bool is_zip(const std::filesystem::path& file) {
  std::array<char, 4> begin{};
  std::ifstream(file, std::ios::binary).read(begin.data(), begin.size());
  return std::string_view(begin.data(), begin.size()) == "PK\x03\x04";
}

/// torch.save before 1.6 begins with the pickled number 0x1950a86a20f9469cfc6c, which has more than 64 bits.
bool take_legacy_magic(std::string_view& content) {
  constexpr std::string_view kMagic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  if (!content.starts_with(kMagic)) return false;
  content.remove_prefix(kMagic.size());
  return true;
}

TensorMap read_torch(const std::filesystem::path& file) {
  if (is_zip(file)) return read_zip(file);
  const std::string content = read_text(file);
  std::string_view rest = content;
  if (take_legacy_magic(rest)) return read_legacy(rest);
  throw FileError("it is neither safetensors nor a file of torch.save");
}

TensorMap without_prefix(TensorMap tensors) {
  const bool parallel = std::all_of(tensors.begin(), tensors.end(),
                                    [](const auto& item) { return item.first.starts_with(kParallelPrefix); });
  if (!parallel) return tensors;
  TensorMap plain;
  for (auto& [name, tensor] : tensors) plain[name.substr(kParallelPrefix.size())] = std::move(tensor);
  return plain;
}

}  // namespace

TensorMap read_weights(const std::filesystem::path& file) {
  if (file.extension() == ".safetensors") return without_prefix(read_safetensors(file));
  if (!std::filesystem::is_regular_file(file)) throw FileError("cannot read " + file.string());
  try {
    return without_prefix(read_torch(file));
  } catch (const std::exception& error) {
    throw FileError(fmt::format("{} cannot be read: {}", file.string(), message_of(error)));
  }
}

namespace {

/// The name of a storage of that type in Python.
std::string storage_name(at::ScalarType type) { return fmt::format("{}Storage", c10::toString(type)); }

std::string little_endian(std::uint64_t value, std::size_t bytes) {
  return {reinterpret_cast<const char*>(&value), bytes};
}

std::string pickled_text(const std::string& text) { return "X" + little_endian(text.size(), 4) + text; }

std::string pickled_integer(std::int64_t value) {
  return "\x8a\x08" + little_endian(static_cast<std::uint64_t>(value), 8);
}

std::string pickled_tuple(at::IntArrayRef values) {
  std::string text = "(";
  for (const std::int64_t value : values) text += pickled_integer(value);
  return text + "t";
}

/// torch._utils._rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict()), as torch.save writes it.
std::string pickled_tensor(const at::Tensor& tensor, const std::string& key) {
  const std::string storage = "(" + pickled_text("storage") + "ctorch\n" + storage_name(tensor.scalar_type()) + "\n" +
                              pickled_text(key) + pickled_text("cpu") + pickled_integer(tensor.numel()) + "tQ";
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + pickled_integer(0) + pickled_tuple(tensor.sizes()) +
         pickled_tuple(tensor.strides()) + "\x89" + "ccollections\nOrderedDict\n)RtR";
}

}  // namespace

void write_pth(const std::filesystem::path& file, const TensorMap& tensors) {
  std::string content;
  caffe2::serialize::PyTorchStreamWriter writer([&content](const void* data, std::size_t size) {
    content.append(static_cast<const char*>(data), size);
    return size;
  });
  std::string pickle = "\x80\x02}(";
  std::size_t number = 0;
  for (const auto& [name, given] : tensors) {
    const at::Tensor tensor = given.to(at::kCPU).contiguous();
    const std::string key = std::to_string(number++);
    pickle += pickled_text(name) + pickled_tensor(tensor, key);
    writer.writeRecord("data/" + key, tensor.const_data_ptr(), tensor.nbytes());
  }
  pickle += "u.";
  writer.writeRecord("data.pkl", pickle.data(), pickle.size());
  writer.writeRecord("byteorder", "little", 6);
  writer.writeEndOfFile();
  write_file(file, content);
}

}  // namespace kd
