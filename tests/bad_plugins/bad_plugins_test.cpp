// Broken plugin libraries are refused, each with its own reason, and kdrun lives on.
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "plugin/loader.h"
#include "plugin/registry.h"
#include "probe.h"

namespace {

namespace fs = std::filesystem;
using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

AssertionResult holds(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return AssertionSuccess();
  return AssertionFailure() << "want '" << part << "' in: " << text;
}

fs::path probe_folder(const std::string& name) { return fs::path(KD_PROBES) / name; }

std::string read_bytes(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Replaces every `from` by as many bytes.
std::string patched(std::string bytes, const std::string& from, const std::string& to) {
  EXPECT_EQ(from.size(), to.size());
  EXPECT_NE(bytes.find(from), std::string::npos) << from;
  for (std::size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; ++at) bytes.replace(at, from.size(), to);
  return bytes;
}

/// What kdrun says of the one library in `folder`; empty where it was loaded.
std::string reason_of(const fs::path& folder) {
  kd::load_plugins({folder.string()});
  for (const kd::RefusedLibrary& refused : kd::registry().refused()) {
    if (refused.library.parent_path() == folder) return refused.reason;
  }
  return {};
}

/// What making the component says; empty where it could be made.
std::string failure_of(const std::string& name) {
  try {
    kd::make<probe::Probe>("{ type = '" + name + "' }");
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

class BadPlugins : public ::testing::Test {
 protected:
  BadPlugins() : folder_(fs::temp_directory_path() / ("kdrun_bad_plugins_" + std::to_string(getpid()))) {
    kd::load_plugins({probe_folder("good").string()});
  }

  ~BadPlugins() override {
    EXPECT_EQ(kd::make<probe::Probe>("{ type = 'good' }")->answer(), 42) << "the host must live on";
    fs::remove_all(folder_);
  }

  static std::string good_bytes() { return read_bytes(probe_folder("good") / "good.so"); }

  fs::path new_folder(const std::string& name) const {
    fs::create_directories(folder_ / name);
    return folder_ / name;
  }

  /// What kdrun says of a library that holds `bytes`, alone in a folder.
  std::string reason_for(const std::string& name, const std::string& bytes) const {
    const fs::path alone = new_folder(name);
    std::ofstream(alone / (name + ".so"), std::ios::binary) << bytes;
    return reason_of(alone);
  }

 private:
  const fs::path folder_;
};

TEST_F(BadPlugins, TheGoodOneIsLoaded) {
  EXPECT_EQ(reason_of(probe_folder("good")), "");
  const kd::RegisteredComponent* good = kd::registry().find("schedule", "good");
  ASSERT_NE(good, nullptr);
  EXPECT_EQ(good->library, probe_folder("good") / "good.so");
}

TEST_F(BadPlugins, NoEntryPoint) {
  const std::string reason = reason_for("no_entry_point", patched(good_bytes(), "kdrun_plugin", "kdrun_absent"));
  EXPECT_TRUE(holds(reason, "it has no entry point 'kdrun_plugin'"));
}

TEST_F(BadPlugins, BuiltForAnotherLibTorch) {
  const std::string bytes = good_bytes();
  const std::string stamp = "KDRUN-STAMP:" + kd::own_stamp();
  const std::size_t version = stamp.find("torch=") + 6;
  std::string other = stamp;
  other[version] = '9';
  const std::string reason = reason_for("other_libtorch", patched(bytes, stamp, other));
  EXPECT_TRUE(holds(reason, "built for another kdrun or LibTorch"));
  EXPECT_TRUE(holds(reason, "plugin: " + other.substr(12)));
  EXPECT_TRUE(holds(reason, "kdrun:  " + kd::own_stamp()));
  EXPECT_TRUE(holds(reason, "rebuild the plugin"));
}

TEST_F(BadPlugins, BuiltForAnotherProcessor) {
  std::string bytes = good_bytes();
  bytes[offsetof(Elf64_Ehdr, e_machine)] = static_cast<char>(EM_RISCV);
  bytes[offsetof(Elf64_Ehdr, e_machine) + 1] = 0;
  EXPECT_TRUE(holds(reason_for("other_processor", bytes), "built for another processor (ELF machine 243"));
}

TEST_F(BadPlugins, ATextFile) {
  EXPECT_TRUE(holds(reason_for("text", "This is no library.\n"), "this is no shared library (no ELF header)"));
  EXPECT_TRUE(holds(reason_for("empty", ""), "this is no shared library (no ELF header)"));
}

TEST_F(BadPlugins, AnObjectFile) {
  std::string bytes = good_bytes();
  bytes[offsetof(Elf64_Ehdr, e_type)] = ET_REL;
  EXPECT_TRUE(holds(reason_for("object", bytes), "this is no shared library (an object file or a program)"));
}

TEST_F(BadPlugins, Truncated) {
  const std::string bytes = good_bytes();
  const std::size_t lengths[] = {5,
                                 sizeof(Elf64_Ehdr) - 1,
                                 sizeof(Elf64_Ehdr),
                                 bytes.size() / 4,
                                 bytes.size() / 2,
                                 bytes.size() - 100,
                                 bytes.size() - 1};
  for (const std::size_t length : lengths) {
    EXPECT_EQ(reason_for("truncated_" + std::to_string(length), bytes.substr(0, length)), "the file is truncated");
  }
}

TEST_F(BadPlugins, ADamagedStamp) {
  EXPECT_EQ(reason_for("stamp", patched(good_bytes(), "KDRUN-STAMP:", "KDRUN-STUMP:")), "its stamp is damaged");
}

TEST_F(BadPlugins, WrongNumbersInTheHeaderDoNoHarm) {
  const auto with_header = [](auto change) {
    std::string bytes = good_bytes();
    change(*reinterpret_cast<Elf64_Ehdr*>(bytes.data()));
    return bytes;
  };
  EXPECT_NE(reason_for("far", with_header([](Elf64_Ehdr& header) { header.e_shoff = UINT64_MAX - 8; })), "");
  EXPECT_NE(reason_for("none", with_header([](Elf64_Ehdr& header) { header.e_shnum = 0; })), "");
  EXPECT_NE(reason_for("names", with_header([](Elf64_Ehdr& header) { header.e_shstrndx = 1; })), "");
}

TEST_F(BadPlugins, AMissingDependency) {
  const std::string reason = reason_for("missing", patched(good_bytes(), "libkdrun.so", "libgdrun.so"));
  EXPECT_TRUE(holds(reason, "it cannot be loaded: libgdrun.so: cannot open shared object file"));
}

TEST_F(BadPlugins, AnUndefinedSymbol) {
  const std::string reason = reason_of(probe_folder("undefined_symbol"));
  EXPECT_TRUE(holds(reason, "it cannot be loaded: "));
  EXPECT_TRUE(holds(reason, "undefined symbol"));
  EXPECT_TRUE(holds(reason, "kd_test_function_that_nobody_defines"));
}

TEST_F(BadPlugins, NoPluginAtAllIsNotEvenRun) {
  EXPECT_TRUE(holds(reason_of(probe_folder("no_plugin")), "this library is no kdrun plugin (it has no stamp"));
}

TEST_F(BadPlugins, BuiltWithOtherHeaders) {
  const std::string digest = kd::own_stamp().substr(0, kd::own_stamp().find(' '));
  ASSERT_EQ(digest.substr(0, 10), "interface=");
  ASSERT_EQ(digest.size(), 26U) << "16 digits of the SHA-256 of include/kd";
  std::string other = digest;
  other.back() = other.back() == '0' ? '1' : '0';
  EXPECT_TRUE(holds(reason_for("other_headers", patched(good_bytes(), digest, other)), "built for another kdrun"));
}

TEST_F(BadPlugins, APipeOrAnEndlessDeviceIsNotRead) {
  const fs::path pipes = new_folder("pipes"), devices = new_folder("devices");
  ASSERT_EQ(::mkfifo((pipes / "pipe.so").c_str(), 0600), 0);
  fs::create_symlink("/dev/zero", devices / "zero.so");
  EXPECT_EQ(reason_of(pipes), "this is no regular file");
  EXPECT_EQ(reason_of(devices), "this is no regular file");
}

TEST_F(BadPlugins, AFolderThatIsNotThereIsSaid) {
  const fs::path missing = fs::path(KD_PROBES) / "no_such_folder";
  std::string said;
  for (const std::string& line : kd::load_plugins({missing.string()})) said += line + "\n";
  EXPECT_TRUE(holds(said, missing.string() + ": not loaded: there is no such folder"));
}

TEST_F(BadPlugins, AParameterThatNoRecipeCouldSet) {
  EXPECT_TRUE(holds(reason_of(probe_folder("swallowed_key")),
                    "declares a parameter 'type', which is a key that stands beside"));
  EXPECT_TRUE(holds(reason_of(probe_folder("field_twice")), "declares the parameter 'size' twice"));
  EXPECT_EQ(kd::registry().find("schedule", "field_twice"), nullptr);
}

TEST_F(BadPlugins, ANameTwiceInOneLibrary) {
  const std::string reason = reason_of(probe_folder("twice"));
  EXPECT_TRUE(holds(reason, "schedule 'same_name' is registered twice"));
  EXPECT_TRUE(holds(reason, "twice.cpp:24"));
  EXPECT_TRUE(holds(reason, "twice.cpp:25"));
  EXPECT_EQ(kd::registry().find("schedule", "same_name"), nullptr) << "neither of them may be used";
}

TEST_F(BadPlugins, ANameInTwoLibraries) {
  const std::string reason = reason_for("copy", good_bytes());
  EXPECT_TRUE(holds(reason, "schedule 'good' is registered twice"));
  EXPECT_TRUE(holds(reason, (probe_folder("good") / "good.so").string()));
  EXPECT_TRUE(holds(reason, "copy.so"));
  EXPECT_EQ(kd::registry().find("schedule", "good")->library, probe_folder("good") / "good.so") << "the first stays";
}

TEST_F(BadPlugins, ADeclarationThatThrows) {
  EXPECT_TRUE(holds(reason_of(probe_folder("throws_when_described")), "the declaration is broken"));
  EXPECT_EQ(kd::registry().find("schedule", "whole_beside_broken"), nullptr) << "all of a library, or nothing";
  EXPECT_TRUE(holds(reason_of(probe_folder("throws_no_exception")), "threw something that is no exception"));
}

TEST_F(BadPlugins, AConstructorThatThrows) {
  EXPECT_EQ(reason_of(probe_folder("throws_when_made")), "");
  EXPECT_TRUE(holds(failure_of("throws_kd_error"), "schedule 'throws_kd_error': no luck today"));
  const std::string standard = failure_of("throws_runtime_error");
  EXPECT_TRUE(holds(standard, "schedule 'throws_runtime_error' could not be made: no luck today"));
  EXPECT_TRUE(holds(standard, "throws_when_made.so"));
  const std::string number = failure_of("throws_number");
  EXPECT_TRUE(holds(number, "its constructor threw something that is no exception"));
  EXPECT_TRUE(holds(number, "throws_when_made.so"));
}

TEST_F(BadPlugins, AnErrorOfAConstructorKeepsItsExitCode) {
  kd::load_plugins({probe_folder("throws_when_made").string()});
  try {
    kd::make<probe::Probe>("{ type = 'throws_kd_error' }");
    FAIL() << "it must throw";
  } catch (const kd::Error& error) {
    EXPECT_EQ(error.code(), kd::ExitCode::kUsage);
  }
}

TEST_F(BadPlugins, ANameOfABrokenLibraryIsExplained) {
  kd::load_plugins({probe_folder("undefined_symbol").string()});
  const std::string message = failure_of("undefined_symbol");
  EXPECT_TRUE(holds(message, "undefined_symbol"));
  EXPECT_TRUE(holds(message, "libraries that were refused:"));
  EXPECT_TRUE(holds(message, (probe_folder("undefined_symbol") / "undefined_symbol.so").string()));
  EXPECT_TRUE(holds(message, "kd_test_function_that_nobody_defines"));
}

TEST_F(BadPlugins, LoadingTellsOfEveryRefusalOnce) {
  const std::string folder = probe_folder("no_plugin").string();
  kd::load_plugins({folder});
  std::size_t count = 0;
  for (const std::string& line : kd::load_plugins({folder})) {
    if (holds(line, folder)) ++count;
  }
  EXPECT_EQ(count, 1U);
}

}  // namespace
