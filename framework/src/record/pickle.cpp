// pickle.h: a stack machine, as Python's pickletools describes it. Every length is checked against what is left.
#include "record/pickle.h"

#include <ATen/ops/as_strided.h>
#include <fmt/format.h>

#include <cstring>

#include "kd/diagnostics.h"

namespace kd {
namespace {

[[noreturn]] void fail(const std::string& what) { throw FileError("this pickle " + what); }

std::string_view take(std::string_view& bytes, std::uint64_t count) {
  if (count > bytes.size()) fail("is truncated");
  const std::string_view taken = bytes.substr(0, count);
  bytes.remove_prefix(count);
  return taken;
}

/// A little-endian unsigned number of `width` bytes.
std::uint64_t take_unsigned(std::string_view& bytes, std::size_t width) {
  std::uint64_t value = 0;
  std::memcpy(&value, take(bytes, width).data(), width);
  return value;
}

std::string take_line(std::string_view& bytes) {
  const std::size_t end = bytes.find('\n');
  if (end == std::string_view::npos) fail("is truncated");
  std::string line(take(bytes, end));
  bytes.remove_prefix(1);
  return line;
}

/// A two's complement little-endian number.
std::int64_t take_long(std::string_view& bytes, std::uint64_t width) {
  const std::string_view digits = take(bytes, width);
  if (width > 8) fail("holds a number of more than 64 bits");
  if (width == 0) return 0;
  std::int64_t value = static_cast<signed char>(digits.back()) < 0 ? -1 : 0;
  std::memcpy(&value, digits.data(), width);
  return value;
}

double take_double(std::string_view& bytes) {
  const std::string_view digits = take(bytes, 8);
  std::uint64_t bits = 0;
  for (const char digit : digits) bits = bits << 8 | static_cast<unsigned char>(digit);  // big-endian, unlike the rest
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

const std::map<std::string, at::ScalarType>& storage_types() {
  static const std::map<std::string, at::ScalarType> types = {
      {"torch.FloatStorage", at::kFloat},       {"torch.DoubleStorage", at::kDouble}, {"torch.HalfStorage", at::kHalf},
      {"torch.BFloat16Storage", at::kBFloat16}, {"torch.LongStorage", at::kLong},     {"torch.IntStorage", at::kInt},
      {"torch.ShortStorage", at::kShort},       {"torch.CharStorage", at::kChar},     {"torch.ByteStorage", at::kByte},
      {"torch.BoolStorage", at::kBool}};
  return types;
}

constexpr const char* kOrderedDict = "collections.OrderedDict";
constexpr const char* kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr const char* kRebuildOldTensor = "torch._utils._rebuild_tensor";
constexpr const char* kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr const char* kSize = "torch.Size";

bool is_known_function(const std::string& name) {
  for (const char* known : {kOrderedDict, kRebuildTensor, kRebuildOldTensor, kRebuildParameter, kSize}) {
    if (name == known) return true;
  }
  return false;
}

std::vector<std::int64_t> to_integers(const PickleValue& sequence) {
  if (sequence.kind != PickleValue::Kind::kSequence) fail("holds a tensor whose shape is no tuple");
  std::vector<std::int64_t> integers;
  for (const PickleValue* item : sequence.items) {
    if (item->kind != PickleValue::Kind::kInt || item->integer < 0) fail("holds a tensor with a wrong shape");
    integers.push_back(item->integer);
  }
  return integers;
}

/// Whether a view of that shape stays inside `count` elements.
bool fits(const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& strides, std::int64_t offset,
          std::int64_t count) {
  __extension__ using Wide = __int128;
  Wide last = offset;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) return offset <= count;
    last += static_cast<Wide>(sizes[i] - 1) * strides[i];
    if (last >= count) return false;
  }
  return last < count;
}

}  // namespace

std::string printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

PickleValue* Unpickler::add(Kind kind) {
  values_.emplace_back().kind = kind;
  return &values_.back();
}

PickleValue* Unpickler::add_integer(Kind kind, std::int64_t integer) {
  PickleValue* value = add(kind);
  value->integer = integer;
  return value;
}

PickleValue* Unpickler::add_text(Kind kind, std::string_view text) {
  PickleValue* value = add(kind);
  value->text = text;
  return value;
}

PickleValue* Unpickler::pop() {
  PickleValue* value = top();
  stack_.pop_back();
  return value;
}

PickleValue* Unpickler::top() const {
  if (stack_.empty()) fail("takes more from its stack than is there");
  return stack_.back();
}

std::vector<PickleValue*> Unpickler::pop_to_mark() {
  std::vector<PickleValue*> values;
  while (top()->kind != Kind::kMark) values.push_back(pop());
  pop();
  return {values.rbegin(), values.rend()};
}

void Unpickler::remember(std::int64_t at, PickleValue* value) { memo_[at] = value; }

PickleValue* Unpickler::recall(std::int64_t at) const {
  const auto found = memo_.find(at);
  if (found == memo_.end()) fail("refers to a value that it does not hold");
  return found->second;
}

const PickleValue& Unpickler::read(std::string_view& bytes) {
  stack_.clear();
  memo_.clear();
  for (;;) {
    const auto opcode = static_cast<unsigned char>(take(bytes, 1)[0]);
    if (opcode == '.') return *pop();
    step(opcode, bytes);
  }
}

void Unpickler::step(unsigned char opcode, std::string_view& bytes) {
  switch (opcode) {
    case 0x80: {  // PROTO
      const std::uint64_t protocol = take_unsigned(bytes, 1);
      if (protocol < 2 || protocol > 5) fail(fmt::format("has protocol {}, and 2 to 5 are read", protocol));
      return;
    }
    case 0x95:
      take(bytes, 8);
      return;  // FRAME: its content follows as usual
    case '(':
      return push(add(Kind::kMark));
    case '0':
      pop();
      return;
    case '1':
      pop_to_mark();
      return;
    case 'N':
      return push(add(Kind::kNone));
    case 0x88:
      return push(add_integer(Kind::kBool, 1));
    case 0x89:
      return push(add_integer(Kind::kBool, 0));
    case 'J':
      return push(add_integer(Kind::kInt, static_cast<std::int32_t>(take_unsigned(bytes, 4))));
    case 'K':
      return push(add_integer(Kind::kInt, static_cast<std::int64_t>(take_unsigned(bytes, 1))));
    case 'M':
      return push(add_integer(Kind::kInt, static_cast<std::int64_t>(take_unsigned(bytes, 2))));
    case 0x8a:
      return push(add_integer(Kind::kInt, take_long(bytes, take_unsigned(bytes, 1))));
    case 0x8b:
      return push(add_integer(Kind::kInt, take_long(bytes, take_unsigned(bytes, 4))));
    case 'G': {
      PickleValue* value = add(Kind::kFloat);
      value->number = take_double(bytes);
      return push(value);
    }
    case 'X':
      return push(add_text(Kind::kString, take(bytes, take_unsigned(bytes, 4))));
    case 0x8c:
      return push(add_text(Kind::kString, take(bytes, take_unsigned(bytes, 1))));
    case 0x8d:
      return push(add_text(Kind::kString, take(bytes, take_unsigned(bytes, 8))));
    case 'T':
      return push(add_text(Kind::kString, take(bytes, take_unsigned(bytes, 4))));
    case 'U':
      return push(add_text(Kind::kString, take(bytes, take_unsigned(bytes, 1))));
    case 'B':
      return push(add_text(Kind::kBytes, take(bytes, take_unsigned(bytes, 4))));
    case 'C':
      return push(add_text(Kind::kBytes, take(bytes, take_unsigned(bytes, 1))));
    case 0x8e:
      return push(add_text(Kind::kBytes, take(bytes, take_unsigned(bytes, 8))));
    case ']':
    case ')':
      return push(add(Kind::kSequence));
    case '}':
      return push(add(Kind::kDict));
    case 't':
    case 'l': {
      const std::vector<PickleValue*> items = pop_to_mark();
      PickleValue* sequence = add(Kind::kSequence);
      sequence->items = items;
      return push(sequence);
    }
    case 'd': {
      const std::vector<PickleValue*> pairs = pop_to_mark();
      PickleValue* dict = add(Kind::kDict);
      set_items(dict, pairs);
      return push(dict);
    }
    case 0x85:
    case 0x86:
    case 0x87: {  // TUPLE1 to TUPLE3
      PickleValue* tuple = add(Kind::kSequence);
      tuple->items.resize(opcode - 0x84U);
      for (auto item = tuple->items.rbegin(); item != tuple->items.rend(); ++item) *item = pop();
      return push(tuple);
    }
    case 'a': {
      PickleValue* item = pop();
      top()->items.push_back(item);
      return;
    }
    case 'e': {
      const std::vector<PickleValue*> items = pop_to_mark();
      top()->items.insert(top()->items.end(), items.begin(), items.end());
      return;
    }
    case 's': {
      PickleValue* value = pop();
      PickleValue* key = pop();
      return set_items(top(), {key, value});
    }
    case 'u': {
      const std::vector<PickleValue*> pairs = pop_to_mark();
      return set_items(top(), pairs);
    }
    case 'q':
      return remember(static_cast<std::int64_t>(take_unsigned(bytes, 1)), top());
    case 'r':
      return remember(static_cast<std::int64_t>(take_unsigned(bytes, 4)), top());
    case 0x94:
      return remember(static_cast<std::int64_t>(memo_.size()), top());
    case 'h':
      return push(recall(static_cast<std::int64_t>(take_unsigned(bytes, 1))));
    case 'j':
      return push(recall(static_cast<std::int64_t>(take_unsigned(bytes, 4))));
    case 'c': {
      const std::string module = take_line(bytes);
      return push_global(module, take_line(bytes));
    }
    case 0x93: {
      const std::string name = pop()->text;
      return push_global(pop()->text, name);
    }
    case 'Q':
      return push(load_storage(*pop()));
    case 'R': {
      const PickleValue* arguments = pop();
      return push(call(*pop(), *arguments));
    }
    case 0x81: {  // NEWOBJ
      const PickleValue* arguments = pop();
      return push(call(*pop(), *arguments));
    }
    case 0x92: {  // NEWOBJ_EX
      pop();
      const PickleValue* arguments = pop();
      return push(call(*pop(), *arguments));
    }
    case 0x8f:
      return push(add(Kind::kSequence));  // EMPTY_SET
    case 0x90: {                          // ADDITEMS
      const std::vector<PickleValue*> items = pop_to_mark();
      top()->items.insert(top()->items.end(), items.begin(), items.end());
      return;
    }
    case 'b':
      pop();
      return;  // BUILD: attributes, such as the _metadata of a state dict, which nothing here needs
    default:
      fail(fmt::format("uses opcode 0x{:02x}, which no file of tensors needs", opcode));
  }
}

void Unpickler::push_global(const std::string& module, const std::string& name) {
  const std::string full = module + "." + name;
  const auto type = storage_types().find(full);
  if (type == storage_types().end() && !is_known_function(full)) {
    skipped_.insert(printable(full));
    return push(add_text(Kind::kObject, printable(full)));
  }
  PickleValue* value = add_text(Kind::kGlobal, full);
  if (type != storage_types().end()) value->type = type->second;
  push(value);
}

void Unpickler::set_items(PickleValue* dict, const std::vector<PickleValue*>& pairs) {
  if (dict->kind == Kind::kObject) return;
  if (dict->kind != Kind::kDict || pairs.size() % 2 != 0) fail("sets items of what is no dictionary");
  for (std::size_t i = 0; i < pairs.size(); i += 2) dict->entries.emplace_back(pairs[i], pairs[i + 1]);
}

PickleValue* Unpickler::load_storage(const PickleValue& id) {
  // ("storage", type, key, location, count), and in old files a view of another storage, or None.
  const auto& parts = id.items;
  const bool whole = parts.size() >= 5 && parts[0]->text == "storage" && parts[1]->kind == Kind::kGlobal &&
                     parts[1]->type != at::ScalarType::Undefined && parts[4]->kind == Kind::kInt &&
                     parts[4]->integer >= 0;
  if (!whole) fail("holds a storage that is none");
  if (parts.size() > 5 && parts[5]->kind != Kind::kNone) fail("holds a view of a storage, as PyTorch wrote before 0.4");
  PickleValue* storage = add(Kind::kStorage);
  storage->tensor = storages_(parts[2]->text, parts[1]->type, parts[4]->integer);
  return storage;
}

PickleValue* Unpickler::call(const PickleValue& function, const PickleValue& arguments) {
  if (function.kind == Kind::kObject) return add_text(Kind::kObject, function.text);
  if (function.kind != Kind::kGlobal || arguments.kind != Kind::kSequence) fail("calls what is no function");
  if (function.text == kOrderedDict) {
    PickleValue* dict = add(Kind::kDict);
    for (const PickleValue* list : arguments.items) {
      for (const PickleValue* pair : list->items) set_items(dict, pair->items);
    }
    return dict;
  }
  if (function.text == kSize && arguments.items.size() == 1) return arguments.items[0];
  if (function.text == kRebuildParameter && !arguments.items.empty()) return arguments.items[0];
  if (function.text == kRebuildTensor || function.text == kRebuildOldTensor) return rebuild_tensor(arguments);
  fail("calls '" + function.text + "' with wrong arguments");
}

PickleValue* Unpickler::rebuild_tensor(const PickleValue& arguments) {
  // (storage, offset, sizes, strides, …)
  const auto& parts = arguments.items;
  if (parts.size() < 4 || parts[0]->kind != Kind::kStorage || parts[1]->kind != Kind::kInt || parts[1]->integer < 0)
    fail("holds a tensor that is none");
  const std::vector<std::int64_t> sizes = to_integers(*parts[2]), strides = to_integers(*parts[3]);
  if (sizes.size() != strides.size() || !fits(sizes, strides, parts[1]->integer, parts[0]->tensor.numel()))
    fail("holds a tensor that reaches beyond its storage");
  PickleValue* tensor = add(Kind::kTensor);
  tensor->tensor = at::as_strided(parts[0]->tensor, sizes, strides, parts[1]->integer);
  return tensor;
}

}  // namespace kd
