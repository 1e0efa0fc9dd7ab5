// weights.h
#include "record/weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <archive.h>
#include <archive_entry.h>
#include <c10/util/Exception.h>
#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <memory>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "record/pickle.h"

namespace kd {
namespace {

constexpr std::array kStateDictKeys = {"model", "state_dict", "model_state_dict", "net"};

struct CloseArchive {
  void operator()(::archive* one) const { archive_read_free(one); }
};

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

/// "'opt' (argparse.Namespace)" for each entry that is an object.
std::string objects_of(const PickleValue& dict) {
  std::string text;
  for (const auto& [key, value] : dict.entries) {
    if (value->kind != PickleValue::Kind::kObject) continue;
    text += fmt::format("{}'{}' ({})", text.empty() ? "" : ", ", printable(key->text), value->text);
  }
  return text;
}

Weights find_state_dict(const PickleValue& root, const Unpickler& unpickler) {
  const std::string objects = fmt::format("{}", fmt::join(unpickler.skipped(), ", "));
  const std::string advice =
      objects.empty() ? ""
                      : fmt::format(
                            "; of {} nothing was read\n    hint: load it in Python, where you trust it, and save "
                            "its state_dict() alone",
                            objects);
  if (!root.is_dict()) throw FileError("it holds no dictionary" + advice);
  Weights weights;
  for (const char* wanted : kStateDictKeys) {
    for (const auto& [key, value] : root.entries) {
      if (key->text != wanted || !value->is_dict() || !weights.tensors.empty()) continue;
      weights.tensors = tensors_of(*value);
    }
  }
  if (weights.tensors.empty()) {
    weights.tensors = tensors_of(root);
    if (weights.tensors.size() != root.entries.size()) weights.tensors.clear();
  }
  if (weights.tensors.empty()) {
    std::string keys;
    for (const auto& [key, value] : root.entries) keys += (keys.empty() ? "" : ", ") + printable(key->text);
    throw FileError(fmt::format("it holds no state dict, neither bare nor under {}; its keys are: {}{}",
                                fmt::join(kStateDictKeys, ", "), keys, advice));
  }
  if (!objects.empty()) {
    const std::string entries = objects_of(root);
    weights.notes.push_back("passed over, and nothing of it run: " + (entries.empty() ? objects : entries));
  }
  return weights;
}

/// The records of a zip file by their names without the first folder. libarchive checks the CRC of each.
std::map<std::string, std::string> read_records(const std::filesystem::path& file) {
  const std::unique_ptr<::archive, CloseArchive> reader(archive_read_new());
  archive_read_support_format_zip_seekable(reader.get());  // by its directory at the end: one that lacks it is cut off
  const auto check = [&](la_int64_t code) {
    if (code >= ARCHIVE_OK || code == ARCHIVE_EOF) return;
    const char* why = archive_error_string(reader.get());
    const std::string reason = why != nullptr ? why : "it is no zip file";
    throw FileError("it is damaged: " + reason +
                    (reason.find("CRC") == std::string::npos
                         ? ""
                         : " (or it was saved with torch.serialization.set_crc32_options(False): save it again)"));
  };
  check(archive_read_open_filename(reader.get(), file.c_str(), 1 << 20));
  // torch.save compresses nothing, so that all records together are smaller than the file.
  std::uintmax_t left = std::filesystem::file_size(file);
  std::map<std::string, std::string> records;
  archive_entry* entry = nullptr;
  int code = ARCHIVE_OK;
  while (check(code = archive_read_next_header(reader.get(), &entry)), code != ARCHIVE_EOF) {
    const char* given = archive_entry_pathname(entry);
    const std::string path = given != nullptr ? given : "";
    std::string& content = records[path.substr(path.find('/') + 1)];
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    while (check(code = archive_read_data_block(reader.get(), &bytes, &size, &offset)), code != ARCHIVE_EOF) {
      if (size > left) throw FileError("its entry " + printable(path) + " is compressed or damaged");
      left -= size;
      content.append(static_cast<const char*>(bytes), size);
    }
  }
  return records;
}

Weights read_zip(const std::filesystem::path& file) {
  const std::map<std::string, std::string> records = read_records(file);
  const auto record = [&records](const std::string& name) -> const std::string& {
    const auto found = records.find(name);
    if (found == records.end()) throw FileError("it is damaged or no file of torch.save: it lacks " + printable(name));
    return found->second;
  };
  if (records.contains("byteorder") && record("byteorder") != "little")
    throw FileError("it was written on a big-endian machine");
  std::map<std::string, at::Tensor> storages;
  Unpickler unpickler([&](const std::string& key, at::ScalarType type, std::int64_t count) {
    at::Tensor& storage = storages[key];
    if (!storage.defined()) {
      const std::string& data = record("data/" + key);
      check_count(count, type, data.size());
      storage = copy_elements(data.data(), type, count);
    }
    return storage;
  });
  std::string_view pickle = record("data.pkl");
  const PickleValue& root = unpickler.read(pickle);
  return find_state_dict(root, unpickler);
}

/// The container before PyTorch 1.6: a magic number, a version, facts of the machine, the object and the keys of its
/// storages as pickles, then each storage's number of elements and its bytes.
Weights read_legacy(std::string_view content) {
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
  return find_state_dict(root, unpickler);
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

Weights read_torch(const std::filesystem::path& file) {
  if (is_zip(file)) return read_zip(file);
  const std::string content = read_text(file);
  std::string_view rest = content;
  if (take_legacy_magic(rest)) return read_legacy(rest);
  throw FileError("it is neither safetensors nor a file of torch.save");
}

}  // namespace

Weights read_weights(const std::filesystem::path& file) {
  if (file.extension() == ".safetensors") return {read_safetensors(file), {}};
  if (!std::filesystem::is_regular_file(file)) throw FileError("cannot read " + file.string());
  try {
    return read_torch(file);
  } catch (const std::exception& error) {
    throw FileError(fmt::format("{} cannot be read: {}", file.string(), message_of(error)));
  }
}

TensorMap with_prefix(const TensorMap& weights, const std::string& prefix) {
  TensorMap plain;
  for (const auto& [name, tensor] : weights) {
    if (name.starts_with(prefix)) plain[name.substr(prefix.size())] = tensor;
  }
  if (plain.empty()) throw FileError("no name begins with '" + prefix + "'");
  return plain;
}

TensorMap without_common_prefix(TensorMap weights, const std::vector<std::string>& names, std::string* note) {
  const auto matches = [&names](const TensorMap& candidate) {
    return std::count_if(names.begin(), names.end(), [&](const std::string& name) { return candidate.contains(name); });
  };
  TensorMap best = weights;
  std::string prefix, taken;
  while (!weights.empty()) {
    const std::string& first = weights.begin()->first;
    const std::string step = first.substr(0, first.find('.') + 1);
    const bool common = !step.empty() && std::all_of(weights.begin(), weights.end(),
                                                     [&](const auto& item) { return item.first.starts_with(step); });
    if (!common) break;
    weights = with_prefix(weights, step);
    prefix += step;
    if (matches(weights) <= matches(best)) continue;
    best = weights;
    taken = prefix;
  }
  if (!taken.empty() && note != nullptr) *note = fmt::format("the prefix '{}' was taken off every name", taken);
  return best;
}

void require_finite(const TensorMap& weights, const std::string& source) {
  constexpr std::size_t kMostShown = 5;
  std::vector<std::string> bad;
  for (const auto& [name, tensor] : weights) {
    if (!tensor.is_floating_point()) continue;
    const auto count = tensor.isfinite().logical_not().sum().item<std::int64_t>();
    if (count > 0) bad.push_back(fmt::format("{} ({} of {})", name, count, tensor.numel()));
  }
  if (bad.empty()) return;
  const std::size_t shown = std::min(bad.size(), kMostShown);
  throw FileError(fmt::format("{} holds numbers that are NaN or infinite: {}{}", source,
                              fmt::join(bad.begin(), bad.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                              shown < bad.size() ? fmt::format(" and {} more", bad.size() - shown) : ""));
}

namespace {

/// The name of a storage of that type in Python.
std::string storage_name(at::ScalarType type) { return fmt::format("{}Storage", c10::toString(type)); }

std::string little_endian(std::uint64_t value, std::size_t bytes) {
  return {reinterpret_cast<const char*>(&value), bytes};
}

std::string pickled_text(const std::string& text) { return fmt::format("X{}{}", little_endian(text.size(), 4), text); }

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
