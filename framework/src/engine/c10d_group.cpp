// c10d_group.h
#include "engine/c10d_group.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <future>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "engine/nccl_backend.h"

namespace kd {
namespace {

using Backend = c10::intrusive_ptr<c10d::Backend>;

/// Throws in the place of an error of communication what the lost process said, if anything.
using OnLoss = std::function<void(const std::exception& error)>;

class C10dGroup final : public Group {
 public:
  /// `gpus` may be null: tensors on GPUs are not exchanged then.
  explicit C10dGroup(Backend gloo, Backend gpus = {}, OnLoss on_loss = {})
      : gloo_(std::move(gloo)), gpus_(std::move(gpus)), on_loss_(std::move(on_loss)) {}

  std::int64_t rank() const override { return gloo_->getRank(); }
  std::int64_t size() const override { return gloo_->getSize(); }

  void sum(const std::vector<at::Tensor>& tensors) override {
    const bool takes_rider =
        rider_.defined() && std::any_of(tensors.begin(), tensors.end(), [](const at::Tensor& tensor) {
          return tensor.is_cpu() && tensor.scalar_type() == at::kFloat;
        });
    std::vector<at::Tensor> all = tensors;
    if (takes_rider) all.push_back(std::exchange(rider_, {}));
    change_together(all,
                    [&](c10d::Backend& backend, std::vector<at::Tensor>& flat) { return backend.allreduce(flat); });
  }
  void sum_with_next(const at::Tensor& numbers) { rider_ = numbers; }
  void settle() {
    if (rider_.defined()) sum({std::exchange(rider_, {})});
  }
  void broadcast(const std::vector<at::Tensor>& tensors) override {
    change_together(tensors,
                    [&](c10d::Backend& backend, std::vector<at::Tensor>& flat) { return backend.broadcast(flat); });
  }
  at::Tensor gather(const at::Tensor& rows) override {
    const std::vector<at::Tensor> counts =
        gather_equal(at::full({1}, rows.size(0), at::TensorOptions().dtype(at::kLong)));
    std::int64_t most = 0;
    for (const at::Tensor& count : counts) most = std::max(most, count.item<std::int64_t>());
    // c10d gathers tensors of one shape.
    std::vector<std::int64_t> shape = rows.sizes().vec();
    shape[0] = most;
    at::Tensor padded = at::zeros(shape, rows.options().requires_grad(false));
    padded.narrow(0, 0, rows.size(0)).copy_(rows.detach());
    std::vector<at::Tensor> parts = gather_equal(padded);
    for (std::size_t i = 0; i < parts.size(); ++i) parts[i] = parts[i].narrow(0, 0, counts[i].item<std::int64_t>());
    return at::cat(parts);
  }
  void wait() override {
    wait_for([&] { return gloo_->barrier(); });
  }
  double seconds() const { return std::chrono::duration<double>(spent_).count(); }

 private:
  template <class Start>
  void wait_for(const Start& start) const {
    const auto begin = std::chrono::steady_clock::now();
    try {
      start()->wait();
      spent_ += std::chrono::steady_clock::now() - begin;
    } catch (const std::exception& error) {
      if (on_loss_) on_loss_(error);
      throw;
    }
  }
  c10d::Backend& backend_of(const at::Tensor& tensor) const {
    if (tensor.is_cpu()) return *gloo_;
    if (!gpus_) throw Error("tensors of GPUs cannot be exchanged: this build of LibTorch has no NCCL");
    return *gpus_;
  }
  /// `change` in one tensor for each type, since every call costs a round of messages.
  template <class Change>
  void change_together(const std::vector<at::Tensor>& tensors, const Change& change) const {
    std::map<std::pair<at::ScalarType, at::DeviceType>, std::vector<at::Tensor>> by_type;
    for (const at::Tensor& tensor : tensors)
      by_type[{tensor.scalar_type(), tensor.device().type()}].push_back(tensor.detach());
    for (auto& [type, same] : by_type) {
      std::vector<at::Tensor> rows;
      for (const at::Tensor& tensor : same) rows.push_back(tensor.reshape({-1}));
      std::vector<at::Tensor> flat{at::cat(rows)};
      wait_for([&] { return change(backend_of(flat[0]), flat); });
      std::int64_t begin = 0;
      for (at::Tensor& tensor : same) {
        tensor.copy_(flat[0].narrow(0, begin, tensor.numel()).view(tensor.sizes()));
        begin += tensor.numel();
      }
    }
  }
  std::vector<at::Tensor> gather_equal(const at::Tensor& tensor) {
    std::vector<at::Tensor> in{tensor.contiguous()};
    std::vector<std::vector<at::Tensor>> out(1);
    for (std::int64_t i = 0; i < size(); ++i) out[0].push_back(at::zeros(tensor.sizes(), tensor.options()));
    wait_for([&] { return backend_of(tensor).allgather(out, in); });
    return out[0];
  }

  Backend gloo_, gpus_;
  OnLoss on_loss_;
  mutable std::chrono::steady_clock::duration spent_{};
  at::Tensor rider_;  // waits for a sum to go with
};

Backend make_gloo(const c10::intrusive_ptr<c10d::Store>& store, std::int64_t rank, std::int64_t size,
                  const std::string& address, std::optional<std::chrono::seconds> timeout = {}) {
  const auto options = c10d::ProcessGroupGloo::Options::create();
  if (timeout) options->timeout = *timeout;
  options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address, /*lazyInit=*/false));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(rank), static_cast<int>(size), options);
}

/// The address by which this host reaches `host`: others find it there in turn.
std::string own_address(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0)
    throw Error(fmt::format("the host '{}', where the processes meet, is not known here", host));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int socket = ::socket(one->ai_family, SOCK_DGRAM, 0);
    if (socket < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    char text[NI_MAXHOST] = "";  // NOLINT
    const bool known =
        ::connect(socket, one->ai_addr, one->ai_addrlen) == 0 &&
        ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
        ::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0;
    ::close(socket);
    if (known) return text;
  }
  throw Error(fmt::format("there is no way from here to the host '{}', where the processes meet", host));
}

std::vector<std::uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }
std::string text_of(const std::vector<std::uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

/// The same error in every process, where one of them differs from the first, or two have one GPU.
void require_agreement(const std::vector<nlohmann::json>& all) {
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    for (const auto& [name, value] : all[0].at("facts").items()) {
      const std::string other = all[rank].at("facts").value(name, "");
      if (other == value) continue;
      throw RecipeError({},
                        fmt::format("the processes do not agree: {} of rank 0 is {}, and that of rank {} is {}", name,
                                    value.get<std::string>(), rank, other),
                        "start all of them with the same recipe, settings and build of kdrun");
    }
    const std::string gpu = all[rank].at("gpu");
    for (std::size_t before = 0; before < rank && !gpu.empty(); ++before) {
      if (all[before].at("gpu") != gpu) continue;
      throw RecipeError({}, fmt::format("ranks {} and {} have the same GPU, {}", before, rank, gpu),
                        "start as many processes on a host as it has GPUs, or take --device cpu");
    }
  }
}

}  // namespace

std::unique_ptr<Group> join_gloo_group(const std::filesystem::path& meeting, std::int64_t rank, std::int64_t size) {
  const auto store = c10::make_intrusive<c10d::FileStore>(meeting.string(), static_cast<int>(size));
  return std::make_unique<C10dGroup>(make_gloo(store, rank, size, "127.0.0.1"));
}

double seconds_together(const Group& group) {
  const auto* several = dynamic_cast<const C10dGroup*>(&group);
  return several == nullptr ? 0 : several->seconds();
}

void sum_with_next(Group& group, const at::Tensor& numbers) {
  if (auto* several = dynamic_cast<C10dGroup*>(&group)) {
    several->sum_with_next(numbers);
  } else {
    group.sum({numbers});
  }
}

void settle(Group& group) {
  if (auto* several = dynamic_cast<C10dGroup*>(&group)) several->settle();
}

namespace {

constexpr auto kPatienceWithStore = std::chrono::seconds(5);

}  // namespace

struct JoinedRanks::Meeting {
  Launch launch;
  std::chrono::seconds timeout;
  c10::intrusive_ptr<c10d::Store> store;
  std::unique_ptr<C10dGroup> group;
  bool others_told = false;  // this process knows of the end from them

  bool serves() const { return launch.rank == 0 && !launch.agent_serves; }

  void meet(std::chrono::seconds patience) {
    c10d::TCPStoreOptions options;
    options.port = launch.port;
    options.isServer = serves();
    options.numWorkers = static_cast<std::size_t>(launch.size);
    options.waitWorkers = false;
    options.timeout = patience;
    try {
      const auto tcp = c10::make_intrusive<c10d::TCPStore>(launch.host, options);
      store = c10::make_intrusive<c10d::PrefixStore>("kdrun/" + launch.name, tcp);
    } catch (const std::exception& error) {
      throw Error(fmt::format("rank {} of {} does not reach the others, who meet at {}:{} ({}): {}", launch.rank,
                              launch.size, launch.host, launch.port, launch.launcher, error.what()));
    }
  }

  /// What every process says of itself, once all have.
  std::vector<nlohmann::json> exchange(const nlohmann::json& own, std::chrono::seconds patience) {
    store->set(fmt::format("facts/{}", launch.rank), bytes_of(own.dump()));
    std::vector<nlohmann::json> all;
    for (std::int64_t rank = 0; rank < launch.size; ++rank) {
      const std::string key = fmt::format("facts/{}", rank);
      try {
        store->wait({key}, patience);
      } catch (const std::exception&) {
        throw Error(fmt::format("rank {} of {} did not come within {} s", rank, launch.size, patience.count()));
      }
      all.push_back(nlohmann::json::parse(text_of(store->get(key))));
    }
    wait_for_readers("read");
    return all;
  }

  /// The process that serves the store waits until the others have read what they need of it.
  void wait_for_readers(const std::string& key) {
    store->add(key, 1);
    if (serves()) wait_until([&] { return store->add(key, 0) >= launch.size; });
  }

  template <class Condition>
  static bool wait_until(const Condition& holds) {
    const auto end = std::chrono::steady_clock::now() + kPatienceWithStore;
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
  }

  /// What the process said that ended; empty where none did. Asked from a thread of its own, which a broken network may
  /// keep waiting for longer than anybody wants to.
  std::string ask_who_ended() const {
    const auto answer = std::make_shared<std::promise<std::string>>();
    std::future<std::string> told = answer->get_future();
    std::thread([answer, store = store] {
      std::string text;
      try {
        // Connections break before a word can come.
        if (wait_until([&] { return store->check({"ended"}); })) {
          text = text_of(store->get("ended"));
          store->add("heard", 1);
        }
      } catch (const std::exception&) {  // the store went with its process
      }
      answer->set_value(text);
    }).detach();
    return told.wait_for(kPatienceWithStore + std::chrono::seconds(1)) == std::future_status::ready ? told.get() : "";
  }

  [[noreturn]] void report_loss(const std::exception& error) {
    others_told = true;
    const std::string told = ask_who_ended();
    if (!told.empty()) {
      const auto words = nlohmann::json::parse(told);
      throw Error(fmt::format("rank {} ended: {}", words.at("rank").get<int>(), words.at("error").get<std::string>()),
                  static_cast<ExitCode>(words.at("code").get<int>()));
    }
    // Gloo's begin with the place in its source and end with guesses.
    std::string reason = error.what();
    if (const std::size_t place = reason.find("] "); reason.starts_with('[') && place != std::string::npos)
      reason.erase(0, place + 2);
    reason.resize(std::min(reason.find(". This is"), std::min(reason.find('\n'), reason.size())));
    throw Error(fmt::format("another process was lost, or did not answer for {} s; the same command goes on from the "
                            "last checkpoint ({})",
                            timeout.count(), reason),
                ExitCode::kResumable);
  }
};

JoinedRanks::JoinedRanks(const Launch& launch, at::Device device, const SharedFacts& facts, const std::string& gpu,
                         std::chrono::seconds patience, std::chrono::seconds timeout)
    : meeting_(std::make_unique<Meeting>()) {
  meeting_->launch = launch;
  meeting_->timeout = timeout;
  meeting_->meet(patience);
  nlohmann::json own{{"facts", nlohmann::json::object()}, {"gpu", gpu}};
  for (const auto& [name, value] : facts) own["facts"][name] = value;
  require_agreement(meeting_->exchange(own, patience));
  const std::string on_one_host = launch.address();
  const std::string address = on_one_host.empty() ? own_address(launch.host, launch.port) : on_one_host;
  const auto prefixed = [&](const std::string& name) {
    return c10::make_intrusive<c10d::PrefixStore>(name, meeting_->store);
  };
  const Backend gloo = make_gloo(prefixed("gloo"), launch.rank, launch.size, address, timeout);
  const Backend gpus =
      device.is_cuda() && nccl_is_there() ? make_nccl(prefixed("nccl"), launch.rank, launch.size, timeout) : Backend();
  meeting_->group = std::make_unique<C10dGroup>(
      gloo, gpus, [meeting = meeting_.get()](const std::exception& error) { meeting->report_loss(error); });
}

JoinedRanks::~JoinedRanks() = default;

Group& JoinedRanks::group() { return *meeting_->group; }

void JoinedRanks::leave(const std::string& error, ExitCode code) noexcept {
  if (meeting_->others_told) return;
  try {
    const nlohmann::json words{{"rank", meeting_->launch.rank}, {"error", error}, {"code", static_cast<int>(code)}};
    meeting_->store->compareSet("ended", {},
                                bytes_of(words.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
    meeting_->group.reset();  // its connections break, which the others notice
    if (meeting_->serves())
      Meeting::wait_until([&] { return meeting_->store->add("heard", 0) >= meeting_->launch.size - 1; });
  } catch (const std::exception&) {  // who could be told is gone
  }
}

}  // namespace kd
