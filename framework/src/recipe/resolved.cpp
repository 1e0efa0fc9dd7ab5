// plan.h: a resolved recipe as text, and where each of its settings came from.
#include <fmt/format.h>

#include <algorithm>

#include "recipe/plan.h"

namespace kd {
namespace {

void list_into(const std::string& key, const Value& value, std::vector<SettingOrigin>& all) {
  if (value.is_table() && !value.as_table().empty()) {
    for (const Member& member : value.as_table())
      list_into((key.empty() ? "" : key + ".") + member.key, member.value, all);
  } else if (value.is_list() && std::any_of(value.as_list().begin(), value.as_list().end(),
                                            [](const Value& item) { return item.is_table(); })) {
    for (std::size_t i = 0; i < value.as_list().size(); ++i) {
      const Value& item = value.as_list()[i];
      const Value* name = key == "stage" ? item.find("name") : nullptr;
      list_into(fmt::format("{}.{}", key, name != nullptr ? name->as_string() : std::to_string(i)), item, all);
    }
  } else {
    all.push_back({key, value, value.location});
  }
}

}  // namespace

std::vector<SettingOrigin> list_settings(const Value& resolved) {
  std::vector<SettingOrigin> all;
  list_into("", resolved, all);
  return all;
}

std::string write_recipe(const Value& resolved) {
  std::string text;
  std::string tables;
  for (const Member& member : resolved.as_table()) {
    if (member.key == "stage") {
      for (const Value& stage : member.value.as_list()) {
        tables += "\n[[stage]]\n";
        for (const Member& setting : stage.as_table())
          tables += fmt::format("{} = {}\n", toml_key(setting.key), setting.value.to_toml());
      }
    } else {
      text += fmt::format("{} = {}\n", toml_key(member.key), member.value.to_toml());
    }
  }
  return text + tables;
}

}  // namespace kd
