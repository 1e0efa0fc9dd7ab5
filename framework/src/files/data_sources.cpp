// data_sources.h: official addresses and SHA-256. MNIST's are those of the mirror that torchvision uses too: the
// authors' own server does not answer reliably.
#include "files/data_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "files/atomic_file.h"
#include "files/digest.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

DataSource idx_source(const std::string& name, const std::string& folder, const std::string& url,
                      const std::vector<std::array<std::string, 3>>& parts) {
  DataSource source{name, folder, {}, {}};
  for (const auto& [file, archive_sha256, sha256] : parts) {
    source.archives.push_back({url + file + ".gz", archive_sha256, file});
    source.files.push_back({folder + "/" + file, sha256});
  }
  return source;
}

/// Where the digests of files stand that have no published one, made when their verified archive was unpacked.
std::filesystem::path own_digests(const DataSource& source, const std::filesystem::path& root) {
  return root / source.folder / "SHA256SUMS";
}

bool lacks_digests(const DataSource& source) {
  return std::any_of(source.files.begin(), source.files.end(), [](const auto& file) { return file.sha256.empty(); });
}

/// As sha256sum writes it, so that `sha256sum -c` reads it.
void write_own_digests(const DataSource& source, const std::filesystem::path& root) {
  std::string text;
  for (const DataSource::File& file : source.files) {
    const std::filesystem::path path = root / file.path;
    if (std::filesystem::is_regular_file(path)) text += file_digest(path) + "  " + path.filename().string() + "\n";
  }
  write_file(own_digests(source, root), text);
}

/// The digest that a file should have; empty where none is known.
std::string wanted_digest(const DataSource::File& file, const std::filesystem::path& own) {
  if (!file.sha256.empty() || !std::filesystem::exists(own)) return file.sha256;
  std::istringstream lines(read_text(own));
  for (std::string digest, name; lines >> digest >> name;) {
    if (name == std::filesystem::path(file.path).filename()) return digest;
  }
  return "";
}

}  // namespace

const std::vector<DataSource>& data_sources() {
  static const std::vector<DataSource> sources = {
      idx_source("mnist", "mnist", "https://ossci-datasets.s3.amazonaws.com/mnist/",
                 {{"train-images-idx3-ubyte", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                   "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
                  {"train-labels-idx1-ubyte", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                   "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
                  {"t10k-images-idx3-ubyte", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                   "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
                  {"t10k-labels-idx1-ubyte", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                   "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}}),
      idx_source("fashion_mnist", "fashion-mnist", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                 {{"train-images-idx3-ubyte", "", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
                  {"train-labels-idx1-ubyte", "", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"},
                  {"t10k-images-idx3-ubyte", "", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
                  {"t10k-labels-idx1-ubyte", "", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}}),
      {"cifar10",
       "cifar-10-batches-bin",
       {{"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
         "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", ""}},
       {{"cifar-10-batches-bin/batches.meta.txt", ""},
        {"cifar-10-batches-bin/data_batch_1.bin", ""},
        {"cifar-10-batches-bin/data_batch_2.bin", ""},
        {"cifar-10-batches-bin/data_batch_3.bin", ""},
        {"cifar-10-batches-bin/data_batch_4.bin", ""},
        {"cifar-10-batches-bin/data_batch_5.bin", ""},
        {"cifar-10-batches-bin/test_batch.bin", ""}}},
      {"cifar100",
       "cifar-100-binary",
       {{"https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
         "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", ""}},
       {{"cifar-100-binary/train.bin", "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"},
        {"cifar-100-binary/test.bin", "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"},
        {"cifar-100-binary/fine_label_names.txt", "4a53f81a8af29bb6aa646bfe2c455db1b061edfde82a39c0cfc313ef536c681b"},
        {"cifar-100-binary/coarse_label_names.txt",
         "14e28b5b70e3d8a29704b0d9f8c5985cca5f3c3d08ea043dcc87a036df37a2b3"}}}};
  return sources;
}

std::vector<std::string> verify_data(const DataSource& source, const std::filesystem::path& root) {
  std::vector<std::string> problems;
  for (const DataSource::File& file : source.files) {
    const std::filesystem::path path = root / file.path;
    if (!std::filesystem::is_regular_file(path)) {
      problems.push_back(path.string() + ": missing");
    } else if (const std::string wanted = wanted_digest(file, own_digests(source, root)); wanted.empty()) {
      problems.push_back(path.string() + ": nothing is known of its SHA-256; kdrun data fetch " + source.name +
                         " gets it from a verified archive");
    } else if (file_digest(path) != wanted) {
      problems.push_back(path.string() + ": its SHA-256 is not that of the official file");
    }
  }
  return problems;
}

void fetch_data(const DataSource& source, const std::filesystem::path& root, const std::string& mirror,
                const DownloadProgress& progress) {
  for (const DataSource::Archive& archive : source.archives) {
    const std::string name = archive.url.substr(archive.url.rfind('/') + 1);
    const std::filesystem::path file = root / "downloads" / name;
    const std::string url = mirror.empty() ? archive.url : mirror + (mirror.ends_with('/') ? "" : "/") + name;
    download(url, file, progress);
    // A mirror may have packed the files anew, where what they hold can be checked below.
    if ((mirror.empty() || lacks_digests(source)) && !archive.sha256.empty() && file_digest(file) != archive.sha256) {
      std::filesystem::remove(file);
      throw FileError(fmt::format(
          "{}: its SHA-256 is not that of the official file; it was removed\n    hint: fetch it again, or give another "
          "address with --mirror",
          url));
    }
    unpack(file, archive.single_name.empty() ? root : root / source.folder, archive.single_name);
    std::filesystem::remove(file);
  }
  if (lacks_digests(source)) write_own_digests(source, root);
  const std::vector<std::string> problems = verify_data(source, root);
  if (!problems.empty()) throw FileError(fmt::format("{}", fmt::join(problems, "\n    ")));
}

}  // namespace kd
