// records.h
#include "record/records.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/crc.hpp>
#include <chrono>
#include <cmath>
#include <cstring>
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

std::ofstream open_to_append(const std::filesystem::path& file) {
  std::ofstream stream(file, std::ios::binary | std::ios::app);
  if (!stream) throw Error("cannot write " + file.string());
  return stream;
}

}  // namespace

JsonLinesSink::JsonLinesSink(const std::filesystem::path& file) : stream_(open_to_append(file)) {}

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

// TensorBoard reads TFRecord files of protocol-buffer messages "Event"; the four fields used here are encoded by hand,
// because the protobuf library and its generated code would be the larger part of kdrun's build.
namespace {

std::string little_endian(std::uint64_t value, std::size_t bytes) {
  return {reinterpret_cast<const char*>(&value), bytes};
}

std::string varint(std::uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
  return text + static_cast<char>(value);
}

std::string key(int field, int wire_type) { return varint(static_cast<std::uint64_t>(field << 3 | wire_type)); }
std::string message(int field, const std::string& content) { return key(field, 2) + varint(content.size()) + content; }
std::string fixed64(int field, double value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return key(field, 1) + little_endian(bits, 8);
}
std::string fixed32(int field, float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return key(field, 5) + little_endian(bits, 4);
}

/// CRC-32C, rotated and offset as TFRecord wants it.
std::string masked_crc(const std::string& bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  const std::uint32_t sum = crc.checksum();
  return little_endian(static_cast<std::uint32_t>((sum >> 15 | sum << 17) + 0xa282ead8U), 4);
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

TensorBoardSink::TensorBoardSink(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  stream_ = open_to_append(folder / fmt::format("events.out.tfevents.{:010}.kdrun.{}",
                                                static_cast<std::int64_t>(wall_seconds()), ::getpid()));
  write_event(fixed64(1, wall_seconds()) + message(3, "brain.Event:2"));
}

void TensorBoardSink::write(const std::vector<Record>& records) {
  const double now = wall_seconds();
  for (const Record& record : records) {
    const std::string tag = fmt::format("{}/{}/{}/{}", record.stage, record.network, record.split, record.name);
    const std::string value = message(1, tag) + fixed32(2, static_cast<float>(record.value));
    write_event(fixed64(1, now) + key(2, 0) + varint(static_cast<std::uint64_t>(record.step)) +
                message(5, message(1, value)));
  }
  stream_.flush();
}

void TensorBoardSink::write_event(const std::string& event) {
  const std::string length = little_endian(event.size(), 8);
  stream_ << length << masked_crc(length) << event << masked_crc(event);
}

}  // namespace kd
