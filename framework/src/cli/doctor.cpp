// kdrun doctor: what this machine has, and what is missing.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/version.h>

#include "cli/command.h"
#include "data/training_data.h"
#include "engine/device.h"
#include "files/atomic_file.h"
#include "files/file_lock.h"
#include "kd/plugin.h"
#include "plugin/loader.h"
#include "plugin/registry.h"

namespace kd::cli {

namespace {

/// Runs that train side by side, on several hosts too, rely on locks in their folder.
std::string describe_runs(const std::filesystem::path& runs) {
  const std::string text = fmt::format("{}, on {}", std::filesystem::absolute(runs).lexically_normal().string(),
                                       describe_locks(runs, read_text("/proc/self/mountinfo")));
  if (!std::filesystem::exists(runs)) return text;
  return locks_work_in(runs) ? text : text + "; a lock that was tried here kept nobody out, or could not be made";
}

}  // namespace

void add_doctor(CLI::App& app) {
  CLI::App* command = app.add_subcommand("doctor", "show versions, devices, plugins, data, and what is missing");
  auto runs = std::make_shared<std::string>("runs");
  command->add_option("--run-dir", *runs, "folder of runs, whose locks are tried")->capture_default_str();
  command->callback([runs] {
    load_plugins();
    fmt::print("kdrun       {} ({})\n", KD_VERSION, own_stamp());
    fmt::print("libtorch    {}, {}\n", TORCH_VERSION, at::hasCUDA() ? "with CUDA" : "no CUDA device");
    fmt::print("devices     {}\n", describe_device(at::kCPU));
    for (std::size_t i = 0; i < at::getNumGPUs(); ++i)
      fmt::print("            {}\n", describe_device(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(i))));
    const bool fast = choose_precision(Precision::kAuto, choose_device("auto"), true) == at::kBFloat16;
    fmt::print("precision   auto is {} for convolutional networks here\n", fast ? "bf16" : "fp32");
    for (const auto& folder : plugin_folders({})) fmt::print("plugins     {}\n", folder.string());
    fmt::print("            {} components, {} libraries refused\n", registry().components().size(),
               registry().refused().size());
    for (const RefusedLibrary& refused : registry().refused())
      fmt::print("            {}: {}\n", refused.library.string(), refused.reason);
    fmt::print("runs        {}\n", describe_runs(*runs));
    const std::filesystem::path root = data_root("");
    fmt::print("data root   {}\n", root.string());
    for (const DataSource& source : data_sources()) {
      const bool there = std::filesystem::exists(root / source.folder);
      fmt::print("            {:<14} {}\n", source.name, there ? "there" : "missing: kdrun data fetch " + source.name);
    }
  });
}

}  // namespace kd::cli
