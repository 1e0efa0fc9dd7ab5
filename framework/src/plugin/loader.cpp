// loader.h: ELF is read by hand, because nothing of a library may run before its stamp is known.
#include "plugin/loader.h"

#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

#include "kd/interface_digest.h"
#include "kd/plugin.h"
#include "plugin/registry.h"

#define KD_TEXT_(x) #x
#define KD_TEXT(x) KD_TEXT_(x)

namespace kd {
namespace {

constexpr std::string_view kStampMark = "KDRUN-STAMP:";

/// A structure of the ELF format at `offset`; throws where the file ends before it does.
template <class T>
T read_at(const std::string& bytes, std::size_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) throw Error("the file is truncated");
  T result;
  std::memcpy(&result, bytes.data() + offset, sizeof(T));
  return result;
}

std::string_view section_bytes(const std::string& bytes, const Elf64_Shdr& section) {
  if (section.sh_offset > bytes.size() || bytes.size() - section.sh_offset < section.sh_size) {
    throw Error("the file is truncated");
  }
  return std::string_view(bytes).substr(section.sh_offset, section.sh_size);
}

void check_header(const std::string& bytes) {
  if (bytes.size() < SELFMAG || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0)
    throw Error("this is no shared library (no ELF header)");
  const auto header = read_at<Elf64_Ehdr>(bytes, 0);
#if defined(__x86_64__)
  constexpr int kMachine = EM_X86_64;
#else
  constexpr int kMachine = EM_AARCH64;
#endif
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != kMachine) {
    throw Error(fmt::format("built for another processor (ELF machine {}, this is {})", header.e_machine, kMachine));
  }
  if (header.e_type != ET_DYN) throw Error("this is no shared library (an object file or a program)");
}

/// Where libkdrun lies, whichever program uses it.
std::filesystem::path own_folder() {
  return std::filesystem::path(boost::dll::this_line_location().string()).parent_path();
}

/// The build tree is laid out as the installed one.
std::filesystem::path own_plugins() { return own_folder() / "kdrun" / "plugins"; }

}  // namespace

std::string read_stamp(const std::filesystem::path& library) {
  std::ifstream stream(library, std::ios::binary);
  if (!stream) throw Error("the file cannot be read");
  const std::string bytes(std::istreambuf_iterator<char>(stream), {});
  check_header(bytes);
  const auto header = read_at<Elf64_Ehdr>(bytes, 0);
  const auto section_at = [&](std::size_t i) {
    return read_at<Elf64_Shdr>(bytes, header.e_shoff + i * sizeof(Elf64_Shdr));
  };
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shstrndx >= header.e_shnum)
    throw Error("the file is truncated");
  const std::string_view names = section_bytes(bytes, section_at(header.e_shstrndx));
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr section = section_at(i);
    if (section.sh_name >= names.size() ||
        names.substr(section.sh_name).substr(0, 13) != std::string_view(".kdrun_stamp\0", 13))
      continue;
    const std::string_view text = section_bytes(bytes, section);
    if (!text.starts_with(kStampMark)) throw Error("its stamp is damaged");
    return std::string(text.substr(kStampMark.size(), text.find('\0') - kStampMark.size()));
  }
  throw Error("this library is no kdrun plugin (it has no stamp; build it with kd_add_plugin)");
}

std::string own_stamp() {
  return "interface=" KD_INTERFACE_DIGEST " torch=" KD_TORCH_VERSION
         " cxx11abi=" KD_TEXT(_GLIBCXX_USE_CXX11_ABI) " sanitize=" KD_SANITIZE;
}

std::vector<std::filesystem::path> plugin_folders(const std::vector<std::string>& given) {
  std::vector<std::filesystem::path> folders(given.begin(), given.end());
  if (const char* variable = std::getenv("KDRUN_PLUGIN_PATH")) {
    std::string_view rest = variable;
    while (!rest.empty()) {
      const std::string_view folder = rest.substr(0, rest.find(':'));
      if (!folder.empty()) folders.emplace_back(folder);
      rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    }
  }
  folders.push_back(own_plugins());
  return folders;
}

namespace {

void load_library(const std::filesystem::path& file) {
  // A pipe or an endless device under the name of a library would be read for ever.
  if (!std::filesystem::is_regular_file(file)) throw Error("this is no regular file");
  const std::string stamp = read_stamp(file);
  if (stamp != own_stamp()) {
    throw Error(
        fmt::format("built for another kdrun or LibTorch\n        plugin: {}\n        kdrun:  {}\n        rebuild the "
                    "plugin against "
                    "this kdrun",
                    stamp, own_stamp()));
  }
  // The handles are leaked, so that nothing is ever unloaded: a live gradient function made in a plugin crashes the
  // process after dlclose.
  static auto* const kept = new std::vector<boost::dll::shared_library>;
  boost::dll::shared_library& library = kept->emplace_back();
  std::error_code error;
  library.load(file, error, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  if (error) {
    const char* detail = dlerror();
    throw Error(fmt::format("it cannot be loaded: {}", detail != nullptr ? detail : error.message()));
  }
  if (!library.has("kdrun_plugin")) throw Error("it has no entry point 'kdrun_plugin' (build it with kd_add_plugin)");
  const PluginInfo* info = library.get<const PluginInfo*()>("kdrun_plugin")();
  if (info == nullptr || info->struct_size != sizeof(PluginInfo))
    throw Error("its entry point answers something else than a plugin does");
  registry().add(info->entries, file);
}

}  // namespace

std::vector<std::string> load_plugins(const std::vector<std::string>& more_folders) {
  static std::set<std::filesystem::path>* const seen = new std::set<std::filesystem::path>;
  for (const std::filesystem::path& folder : plugin_folders(more_folders)) {
    std::error_code error;
    std::vector<std::filesystem::path> files;
    if (!std::filesystem::is_directory(folder) && folder != own_plugins() && seen->insert(folder).second) {
      registry().refuse(folder, "there is no such folder, and --plugin-dir or KDRUN_PLUGIN_PATH names it");
    }
    for (const auto& item : std::filesystem::directory_iterator(folder, error)) {
      if (item.path().extension() == ".so") files.push_back(item.path());
    }
    std::sort(files.begin(), files.end());
    if (files.empty() && std::filesystem::is_directory(folder) && folder != own_plugins() &&
        seen->insert(folder).second)
      registry().refuse(folder, "there is no plugin library in it, and --plugin-dir or KDRUN_PLUGIN_PATH names it");
    for (const std::filesystem::path& file : files) {
      if (!seen->insert(std::filesystem::weakly_canonical(file)).second) continue;
      try {
        load_library(file);
      } catch (const std::exception& problem) {
        registry().refuse(file, problem.what());
      } catch (...) {
        registry().refuse(file, "it threw something that is no exception while it was read in");
      }
    }
  }
  std::vector<std::string> lines;
  for (const RefusedLibrary& refused : registry().refused()) {
    lines.push_back(refused.library.string() + ": not loaded: " + refused.reason);
  }
  return lines;
}

}  // namespace kd
