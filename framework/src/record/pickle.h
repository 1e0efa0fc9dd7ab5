// Python's pickle format, as far as files of tensors need it: plain values and tensors, and nothing that could run
// code.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kd/api.h"

namespace kd {

/// A value of a pickle. Lists, tuples and dictionaries hold pointers to others, which live as long as their Unpickler.
struct KD_API PickleValue {
  enum class Kind {
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kBytes,
    kSequence,
    kDict,
    kTensor,
    kStorage,
    kGlobal,
    kObject,
    kMark
  };

  Kind kind = Kind::kNone;
  std::int64_t integer = 0;  ///< also of a bool, and the number of elements of a storage
  double number = 0;
  std::string text;  ///< of a string, bytes; the name of a global or of an object's class; the key of a storage
  std::vector<PickleValue*> items;
  std::vector<std::pair<PickleValue*, PickleValue*>> entries;
  at::Tensor tensor;                                ///< of a storage: one-dimensional, all of it
  at::ScalarType type = at::ScalarType::Undefined;  ///< of a storage type

  bool is_tensor() const { return kind == Kind::kTensor; }
  bool is_dict() const { return kind == Kind::kDict; }
};

/// `text` with '?' for what a terminal should not get from a stranger's file.
KD_API std::string printable(std::string text);

/// Reads pickles of protocols 2 to 5. The globals it knows are those that torch.save writes for a state dict
/// (OrderedDict, tensors, parameters, storages). What any other would make is read over: it becomes an object of which
/// only the name of its class is kept, and nothing of it is run.
class KD_API Unpickler {
 public:
  /// Gives the elements of a storage: `key`, its element type and how many there are.
  using Storages = std::function<at::Tensor(const std::string& key, at::ScalarType type, std::int64_t count)>;

  explicit Unpickler(Storages storages) : storages_(std::move(storages)) {}

  /// Reads one pickle from the front of `bytes` and moves it on behind it. Throws kd::FileError.
  const PickleValue& read(std::string_view& bytes);

  /// Classes and functions that were named and not called.
  const std::set<std::string>& skipped() const { return skipped_; }

 private:
  using Kind = PickleValue::Kind;

  PickleValue* add(Kind kind);
  PickleValue* add_integer(Kind kind, std::int64_t integer);
  PickleValue* add_text(Kind kind, std::string_view text);
  void push(PickleValue* value) { stack_.push_back(value); }
  PickleValue* pop();
  PickleValue* top() const;
  std::vector<PickleValue*> pop_to_mark();
  void remember(std::int64_t at, PickleValue* value);
  PickleValue* recall(std::int64_t at) const;
  void step(unsigned char opcode, std::string_view& bytes);
  void push_global(const std::string& module, const std::string& name);
  void set_items(PickleValue* dict, const std::vector<PickleValue*>& pairs);
  PickleValue* load_storage(const PickleValue& id);
  PickleValue* call(const PickleValue& function, const PickleValue& arguments);
  PickleValue* rebuild_tensor(const PickleValue& arguments);

  Storages storages_;
  std::deque<PickleValue> values_;
  std::vector<PickleValue*> stack_;
  std::map<std::int64_t, PickleValue*> memo_;
  std::set<std::string> skipped_;
};

}  // namespace kd
