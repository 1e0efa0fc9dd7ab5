// tensorboard.h: TFRecord files of protocol-buffer messages "Event". The few fields used here are encoded by hand,
// because the protobuf library and its generated code would be the larger part of kdrun's build.
#include "record/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/crc.hpp>
#include <chrono>
#include <cstring>

#include "kd/diagnostics.h"

namespace kd {
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
std::string integer(int field, std::int64_t value) { return key(field, 0) + varint(static_cast<std::uint64_t>(value)); }
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

/// Event: wall_time 1, step 2, summary 5. Summary: value 1.
std::string summary_event(std::int64_t step, const std::string& value) {
  return fixed64(1, wall_seconds()) + integer(2, step) + message(5, message(1, value));
}

/// Summary.Value: tag 1, tensor 8, metadata 9. HParams reads the metadata alone and wants some tensor beside it: an
/// empty one, with dtype 1 (float) and the shape (0).
std::string hparams_event(const std::string& tag, const std::string& data) {
  const std::string empty = integer(1, 1) + message(2, message(2, integer(1, 0)));
  const std::string metadata = message(1, message(1, "hparams") + message(2, data));
  return summary_event(0, message(1, tag) + message(8, empty) + message(9, metadata));
}

/// google.protobuf.Value: number 2, string 3, bool 4.
std::string protobuf_value(const Value& value) {
  if (value.is_bool()) return integer(4, value.as_bool() ? 1 : 0);
  if (value.is_number()) return fixed64(2, value.as_number());
  return message(3, value.is_string() ? value.as_string() : value.to_toml());
}

/// A big-endian number of a PNG's header.
std::int64_t png_number(const std::string& png, std::size_t offset) {
  std::int64_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) number = number << 8 | static_cast<unsigned char>(png.at(offset + i));
  return number;
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const auto file = folder / fmt::format("events.out.tfevents.{:010}.kdrun.{}",
                                         static_cast<std::int64_t>(wall_seconds()), ::getpid());
  stream_.open(file, std::ios::binary | std::ios::app);
  if (!stream_) throw Error("cannot write " + file.string());
  write_event(fixed64(1, wall_seconds()) + message(3, "brain.Event:2"));
}

void EventFile::scalar(const std::string& tag, std::int64_t step, double value) {
  write_event(summary_event(step, message(1, tag) + fixed32(2, static_cast<float>(value))));
}

void EventFile::image(const std::string& tag, const std::string& png) {
  constexpr std::size_t kWidth = 16, kHeight = 20;
  const std::string image =
      integer(1, png_number(png, kHeight)) + integer(2, png_number(png, kWidth)) + message(4, png);
  write_event(summary_event(0, message(1, tag) + message(4, image)));
}

void EventFile::begin(const Trial& trial) {
  std::string start;
  for (const auto& [name, value] : trial.settings)
    start += message(1, message(1, name) + message(2, protobuf_value(value)));
  start += message(4, trial.group) + fixed64(5, wall_seconds());
  write_event(hparams_event("_hparams_/session_start_info", message(3, start)));
}

void EventFile::end(TrialStatus status) {
  const std::string end = integer(1, static_cast<std::int64_t>(status)) + fixed64(2, wall_seconds());
  write_event(hparams_event("_hparams_/session_end_info", message(4, end)));
}

void EventFile::write_event(const std::string& event) {
  const std::string length = little_endian(event.size(), 8);
  stream_ << length << masked_crc(length) << event << masked_crc(event);
}

TensorBoardSink::TensorBoardSink(std::filesystem::path folder, const std::vector<Trial>& trials)
    : folder_(std::move(folder)) {
  for (const Trial& trial : trials) trials_[{trial.stage, trial.network}] = trial;
}

TensorBoardSink::OpenRun& TensorBoardSink::run(const NetworkId& id) {
  if (const auto open = open_.find(id); open != open_.end()) return open->second;
  const auto& [stage, network] = id;
  const std::string name = network == "model" ? stage : fmt::format("{}.{}", stage, network);
  OpenRun& run = open_.emplace(id, OpenRun{EventFile(folder_ / name)}).first->second;
  if (const auto trial = trials_.find(id); trial != trials_.end()) run.events.begin(trial->second);
  return run;
}

void TensorBoardSink::write(const std::vector<Record>& records) {
  for (const Record& record : records) {
    OpenRun& of_network = run({record.stage, record.network});
    of_network.events.scalar(fmt::format("{}/{}", record.split, record.name), record.step, record.value);
    of_network.last_step = record.step;
  }
  for (auto& [id, open] : open_) open.events.flush();
}

void TensorBoardSink::finish(const std::string& stage, const std::string& network,
                             const std::map<std::string, double>& results) {
  OpenRun& of_network = run({stage, network});
  for (const auto& [name, value] : results) of_network.events.scalar("result/" + name, of_network.last_step, value);
  of_network.events.end(TrialStatus::kSuccess);
  open_.erase({stage, network});
}

void TensorBoardSink::abandon(TrialStatus status) {
  for (auto& [id, open] : open_) open.events.end(status);
  open_.clear();
}

void TensorBoardSink::image(const std::string& name, const std::string& png) {
  if (!analyses_) analyses_.emplace(folder_ / "analyses");
  analyses_->image(name, png);
  analyses_->flush();
}

}  // namespace kd
