// Members of JSON that others may have written: a member of another type is as good as none.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace kd {

inline std::string text_member(const nlohmann::json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return json.is_object() && found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

inline double number_member(const nlohmann::json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return json.is_object() && found != json.end() && found->is_number() ? found->get<double>() : 0.0;
}

inline nlohmann::json list_member(const nlohmann::json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return json.is_object() && found != json.end() && found->is_array() ? *found : nlohmann::json::array();
}

}  // namespace kd
