// Tests of digests, of files that are whole or absent, and of locks.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "files/atomic_file.h"
#include "files/digest.h"
#include "files/file_lock.h"
#include "kd/diagnostics.h"
#include "temporary_folder.h"

namespace {

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& item : std::filesystem::directory_iterator(folder)) names.push_back(item.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

// Vectors of FIPS 180-4's example collection.
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kTwoBlocks = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
constexpr const char* kMillion = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Digest, IsSha256) {
  EXPECT_EQ(kd::Digest().hex(), kEmpty);
  EXPECT_EQ(kd::Digest().add("abc").hex(), kAbc);
  EXPECT_EQ(kd::Digest().add("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(), kTwoBlocks);
  EXPECT_EQ(kd::Digest().add(std::string(1000000, 'a')).hex(), kMillion);
}

TEST(Digest, DoesNotDependOnThePieces) {
  EXPECT_EQ(kd::Digest().add("a").add("").add("bc").hex(), kAbc);
  const std::array<unsigned char, 3> bytes = {'a', 'b', 'c'};
  EXPECT_EQ(kd::Digest().add(bytes.data(), bytes.size()).hex(), kAbc);
}

TEST(Digest, ReadsFilesOfAnySize) {
  const TemporaryFolder folder;
  EXPECT_EQ(kd::file_digest(folder.write("empty", "")), kEmpty);
  EXPECT_EQ(kd::file_digest(folder.write("million", std::string(1000000, 'a'))), kMillion);
  // Longer than the buffer, and just as long.
  for (const std::size_t size : {std::size_t{1} << 20, (std::size_t{1} << 20) + 1, std::size_t{3} << 20}) {
    const std::string text(size, 'x');
    EXPECT_EQ(kd::file_digest(folder.write("large", text)), kd::Digest().add(text).hex()) << size;
  }
}

TEST(Digest, NamesAFileThatCannotBeRead) {
  try {
    kd::file_digest("no/such/file");
    FAIL();
  } catch (const kd::FileError& error) {
    EXPECT_EQ(std::string(error.what()), "cannot read no/such/file");
  }
}

TEST(WriteFile, WritesEveryByteAndLeavesNothingElse) {
  const TemporaryFolder folder;
  std::string bytes("\0\r\n\xff", 4);
  bytes += std::string(3 << 20, 'x');
  kd::write_file(folder.path / "file", bytes);
  EXPECT_EQ(kd::read_text(folder.path / "file"), bytes);
  EXPECT_EQ(names_in(folder.path), Names({"file"}));
  kd::write_file(folder.path / "file", "");
  EXPECT_EQ(kd::read_text(folder.path / "file"), "");
}

TEST(WriteFile, ReplacesWithoutTouchingTheOldFile) {
  const TemporaryFolder folder;
  const std::string file = folder.write("file", "old");
  std::ifstream reader(file);
  kd::write_file(file, "new content");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(reader), {}), "old") << "a reader saw the file change";
  EXPECT_EQ(kd::read_text(file), "new content");
  EXPECT_EQ(names_in(folder.path), Names({"file"}));
}

TEST(WriteFile, LeavesTheOldFileAndNothingElseWhereItFails) {
  const TemporaryFolder folder;
  folder.write("taken/inside", "old");
  EXPECT_THROW(kd::write_file(folder.path / "taken", "new"), kd::Error);
  EXPECT_EQ(kd::read_text(folder.path / "taken/inside"), "old");
  EXPECT_EQ(names_in(folder.path), Names({"taken"}));
}

TEST(WriteFile, NamesTheFolderThatIsMissing) {
  const TemporaryFolder folder;
  try {
    kd::write_file(folder.path / "missing" / "file", "text");
    FAIL();
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find("missing/file"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("No such file or directory"), std::string::npos) << error.what();
  }
}

TEST(ReadText, RefusesFoldersAndMissingFiles) {
  const TemporaryFolder folder;
  EXPECT_THROW(kd::read_text(folder.path), kd::FileError);
  EXPECT_THROW(kd::read_text(folder.path / "none"), kd::FileError);
  EXPECT_THROW(kd::flush_to_disk(folder.path / "none"), kd::Error);
  EXPECT_NO_THROW(kd::flush_to_disk(folder.path));
}

TEST(ReplaceLink, MakesAndReplacesALink) {
  const TemporaryFolder folder;
  folder.write("first/name", "1");
  folder.write("second/name", "2");
  kd::replace_link(folder.path / "latest", "first");
  EXPECT_EQ(std::filesystem::read_symlink(folder.path / "latest"), "first");
  kd::replace_link(folder.path / "latest", "second");
  EXPECT_EQ(kd::read_text(folder.path / "latest" / "name"), "2");
  EXPECT_EQ(kd::read_text(folder.path / "first" / "name"), "1");
  EXPECT_EQ(names_in(folder.path), Names({"first", "latest", "second"}));
}

TEST(ReplaceLink, ReplacesALinkThatLeadsNowhere) {
  const TemporaryFolder folder;
  kd::replace_link(folder.path / "latest", "gone");
  kd::replace_link(folder.path / "latest", "also gone");
  EXPECT_EQ(std::filesystem::read_symlink(folder.path / "latest"), "also gone");
}

/// A process that runs `work` with one end of a pair of pipes, told to go on and heard one letter at a time.
class Child {
 public:
  template <class F>
  explicit Child(F work) {
    if (::pipe(to_child_.data()) != 0 || ::pipe(from_child_.data()) != 0) throw std::runtime_error("pipe");
    process_ = ::fork();
    if (process_ == 0) {
      work([this] { wait(to_child_[0]); }, [this](char letter) { send(from_child_[1], letter); });
      ::_exit(0);
    }
  }
  ~Child() {
    go();  // a test that failed early has not said so
    int status = 0;
    ::waitpid(process_, &status, 0);
    for (const int descriptor : {to_child_[0], to_child_[1], from_child_[0], from_child_[1]}) ::close(descriptor);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void go() const { send(to_child_[1], 'g'); }
  /// The next letter, or '-' where none comes in time.
  char hear(int milliseconds = 10000) const {
    pollfd waiting{from_child_[0], POLLIN, 0};
    return ::poll(&waiting, 1, milliseconds) == 1 ? wait(from_child_[0]) : '-';
  }

 private:
  static char wait(int descriptor) {
    char letter = '-';
    return ::read(descriptor, &letter, 1) == 1 ? letter : '-';
  }
  static void send(int descriptor, char letter) {
    if (::write(descriptor, &letter, 1) != 1) ::_exit(1);
  }

  std::array<int, 2> to_child_{}, from_child_{};
  ::pid_t process_ = -1;
};

TEST(FileLock, IsFreeForTheFirst) {
  const TemporaryFolder folder;
  const kd::FileLock lock(folder.path / "lock", [](const auto&) { FAIL() << "nobody holds it"; });
  EXPECT_TRUE(std::filesystem::exists(folder.path / "lock"));
}

TEST(FileLock, MakesASecondProcessWait) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path / "lock";
  // Made before the lock is taken: a fork shares the descriptors that are open.
  const Child child([&file](auto wait, auto tell) {
    wait();
    bool told = false;
    const kd::FileLock lock(file, [&](const auto&) {
      if (!told) tell('w');
      told = true;
    });
    tell('l');
  });
  {
    const kd::FileLock lock(file, [](const auto&) { FAIL() << "nobody holds it"; });
    child.go();
    EXPECT_EQ(child.hear(), 'w');
    EXPECT_EQ(child.hear(100), '-') << "two processes hold the lock";
  }
  EXPECT_EQ(child.hear(), 'l');
}

TEST(FileLock, EndsWithItsProcess) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path / "lock";
  int waits = 0;
  {
    const Child child([&file](auto wait, auto tell) {
      new kd::FileLock(file, [](const auto&) {});
      tell('l');
      wait();
      ::_exit(0);
    });
    EXPECT_EQ(child.hear(), 'l');
    child.go();
    const kd::FileLock lock(file, [&waits](const auto&) { ++waits; });
  }
  EXPECT_LE(waits, 20);
}

TEST(FileLock, WaitingCanBeGivenUp) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path / "lock";
  const kd::FileLock held(file, [](const auto&) { FAIL() << "nobody holds it"; });
  EXPECT_THROW(kd::FileLock(file, [](const auto&) { throw kd::Error("enough"); }), kd::Error);
}

TEST(FileLock, NamesAFileThatCannotBeMade) {
  EXPECT_THROW(kd::FileLock("no/such/lock", [](const auto&) {}), kd::Error);
}

TEST(FileLock, SaysWhoHoldsIt) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path / "lock";
  const kd::FileLock held(file, [](const auto&) { FAIL() << "nobody holds it"; });
  std::string holder;
  try {
    const kd::FileLock second(file, [&](const std::string& said) {
      holder = said;
      throw kd::Error("enough");
    });
  } catch (const kd::Error&) {
  }
  EXPECT_TRUE(holder.ends_with(", process " + std::to_string(::getpid()))) << holder;
}

using std::chrono::milliseconds;

TEST(FileLock, GivesUpAHolderThatIsGone) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path / "lock";
  // As where a file server keeps the lock of a host that is no more: its beat is a day.
  const kd::FileLock held(file, [](const auto&) {}, {.beat = std::chrono::hours(24), .patience = milliseconds(1)});
  try {
    const kd::FileLock second(file, [](const auto&) {}, {.patience = milliseconds(300)});
    FAIL() << "two have the lock";
  } catch (const kd::Error& error) {
    EXPECT_EQ(error.code(), kd::ExitCode::kResumable);
    EXPECT_NE(std::string(error.what()).find("has given no sign of life"), std::string::npos) << error.what();
  }
}

TEST(FileLock, WaitsForAHolderThatLives) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path / "lock";
  const kd::FileLock held(file, [](const auto&) {}, {.beat = milliseconds(20)});
  int waits = 0;
  const auto wait = [&waits](const auto&) {
    if (++waits == 10) throw std::runtime_error("a second has passed");
  };
  EXPECT_THROW(kd::FileLock(file, wait, {.patience = milliseconds(400)}), std::runtime_error);
}

TEST(DescribeLocks, FollowsTheFileSystem) {
  const auto of = [](const std::string& mount, const std::string& folder = "/shared/runs") {
    return kd::describe_locks(folder, "21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n" + mount + "\n");
  };
  EXPECT_EQ(of(""), "ext4: locks hold among the processes of this host");
  EXPECT_EQ(of("36 21 0:30 / /shared rw shared:1 - nfs4 server:/export rw,vers=4.2,local_lock=none"),
            "nfs4: locks hold across hosts");
  EXPECT_EQ(of("36 21 0:30 / /shared rw - nfs server:/export rw,vers=3,nolock"),
            "nfs, mounted with 'nolock': locks hold on this host alone; several hosts need 'local_lock=none'");
  EXPECT_EQ(of("36 21 0:30 / /shared rw - lustre server:/x rw,flock"), "lustre: locks hold across hosts");
  EXPECT_EQ(of("36 21 0:30 / /shared rw - lustre server:/x rw"),
            "lustre, mounted without 'flock': there are no locks; mount it with 'flock'");
  EXPECT_EQ(of("36 21 0:30 / /shared rw - fuse.sshfs x rw"),
            "fuse.sshfs: whether locks hold across hosts depends on how it is set up");
  EXPECT_EQ(of("36 21 0:30 / /shared2 rw - nfs4 server:/export rw"),
            "ext4: locks hold among the processes of this host");
  EXPECT_EQ(of("nonsense\n\n1 2"), "ext4: locks hold among the processes of this host");
  EXPECT_EQ(kd::describe_locks("/shared", ""), "of an unknown file system");
}

TEST(LocksWorkIn, AFolderOfThisHost) {
  const TemporaryFolder folder;
  EXPECT_TRUE(kd::locks_work_in(folder.path));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path));
  EXPECT_FALSE(kd::locks_work_in(folder.path / "missing"));
}

}  // namespace
