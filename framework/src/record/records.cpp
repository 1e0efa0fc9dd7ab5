// records.h
#include "record/records.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "kd/diagnostics.h"

namespace kd {

Sink::~Sink() = default;

namespace {

nlohmann::ordered_json to_json(const Record& record) {
  nlohmann::ordered_json json{{"stage", record.stage}, {"network", record.network}, {"split", record.split},
                              {"epoch", record.epoch}, {"step", record.step},       {"name", record.name},
                              {"value", nullptr}};
  if (std::isfinite(record.value)) json["value"] = record.value;
  return json;
}

}  // namespace

JsonLinesSink::JsonLinesSink(const std::filesystem::path& file) : stream_(file, std::ios::binary | std::ios::app) {
  if (!stream_) throw Error("cannot write " + file.string());
}

void JsonLinesSink::write(const std::vector<Record>& records) {
  for (const Record& record : records) stream_ << to_json(record).dump() << '\n';
  if (!stream_.flush()) throw Error("cannot write the metrics: is the disk full?");
}

std::vector<Record> read_records(const std::filesystem::path& file) {
  std::vector<Record> records;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    try {
      records.push_back({json.at("stage"), json.at("network"), json.at("split"), json.at("epoch"), json.at("step"),
                         json.at("name"), json.at("value").is_null() ? std::nan("") : json.at("value").get<double>()});
    } catch (const nlohmann::json::exception&) {
      continue;  // a line that a power cut left half written
    }
  }
  return records;
}

}  // namespace kd
