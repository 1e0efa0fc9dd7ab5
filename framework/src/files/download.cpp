// download.h on libcurl and libarchive.
#include "files/download.h"

#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "kd/diagnostics.h"

namespace kd {
namespace {

struct CloseArchive {
  void operator()(::archive* one) const { archive_read_free(one); }
};
struct CloseCurl {
  void operator()(CURL* one) const { curl_easy_cleanup(one); }
};
struct CloseFile {
  void operator()(std::FILE* one) const { std::fclose(one); }
};

struct Transfer {
  std::FILE* file = nullptr;
  std::int64_t already = 0;
  const DownloadProgress* progress = nullptr;
};

int on_progress(void* data, curl_off_t total, curl_off_t now, curl_off_t, curl_off_t) {
  const auto* transfer = static_cast<const Transfer*>(data);
  if (now > 0) (*transfer->progress)(transfer->already + now, total > 0 ? transfer->already + total : 0);
  return 0;
}

/// One attempt; returns the HTTP status.
long transfer_once(CURL* curl, const std::string& url, const std::filesystem::path& part,
                   const DownloadProgress& progress) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(part, missing);
  Transfer transfer{.file = std::fopen(part.c_str(), "ab"),
                    .already = missing ? 0 : static_cast<std::int64_t>(size),
                    .progress = &progress};
  if (transfer.file == nullptr) throw Error("cannot write " + part.string());
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.already));
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer.file);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 30L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
  const CURLcode code = curl_easy_perform(curl);
  std::fclose(transfer.file);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK) return status;
  // 416: there is nothing after the part, so it is whole. A server that cannot go on answers with an error of its own.
  if (status == 416) return status;
  if (code == CURLE_RANGE_ERROR) {
    std::filesystem::remove(part);
    return transfer_once(curl, url, part, progress);
  }
  const std::string cause = status >= 400 ? fmt::format("the server answers {}", status) : curl_easy_strerror(code);
  if (std::filesystem::file_size(part, missing) == 0) {
    std::filesystem::remove(part, missing);
    throw Error(fmt::format("cannot download {}: {}", url, cause));
  }
  throw Error(
      fmt::format("cannot download {}: {}\n    hint: what has come is kept in {}; the same command goes on from there",
                  url, cause, part.string()));
}

}  // namespace

void download(const std::string& url, const std::filesystem::path& file, const DownloadProgress& progress) {
  std::filesystem::create_directories(file.parent_path());
  std::filesystem::path part = file;
  part += ".part";
  const std::unique_ptr<CURL, CloseCurl> curl(curl_easy_init());
  if (!curl) throw Error("libcurl cannot be started");
  transfer_once(curl.get(), url, part, progress);
  std::filesystem::rename(part, file);
}

namespace {

/// The path of an entry inside the folder; throws where it would lie outside.
std::filesystem::path safe_path(const std::string& entry, const std::filesystem::path& folder,
                                const std::filesystem::path& archive) {
  const std::filesystem::path path(entry);
  for (const auto& step : path) {
    if (step == ".." || path.is_absolute())
      throw FileError(archive.string() + ": entry '" + entry + "' would leave the folder; nothing more is unpacked");
  }
  return folder / path;
}

}  // namespace

void unpack(const std::filesystem::path& archive, const std::filesystem::path& folder, const std::string& single_name) {
  const std::unique_ptr<::archive, CloseArchive> reader(archive_read_new());
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_tar(reader.get());
  archive_read_support_format_raw(reader.get());
  const auto check = [&](int code) {
    if (code == ARCHIVE_OK || code == ARCHIVE_EOF) return;
    const char* why = archive_error_string(reader.get());
    throw FileError(archive.string() + " cannot be unpacked: " + (why != nullptr ? why : "it is damaged"));
  };
  check(archive_read_open_filename(reader.get(), archive.c_str(), 1 << 16));
  archive_entry* entry = nullptr;
  for (int code = archive_read_next_header(reader.get(), &entry); code != ARCHIVE_EOF;
       code = archive_read_next_header(reader.get(), &entry)) {
    check(code);
    const bool raw = archive_format(reader.get()) == ARCHIVE_FORMAT_RAW;
    const std::filesystem::path target =
        raw ? folder / single_name : safe_path(archive_entry_pathname(entry), folder, archive);
    if (!raw && archive_entry_filetype(entry) == AE_IFDIR) continue;
    if (!raw && archive_entry_filetype(entry) != AE_IFREG)
      throw FileError(archive.string() + ": entry '" + target.string() + "' is no plain file");
    std::filesystem::create_directories(target.parent_path());
    std::filesystem::path part = target;
    part += ".part";
    std::unique_ptr<std::FILE, CloseFile> file(std::fopen(part.c_str(), "wb"));
    if (!file) throw Error("cannot write " + part.string());
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    for (int block = archive_read_data_block(reader.get(), &bytes, &size, &offset); block != ARCHIVE_EOF;
         block = archive_read_data_block(reader.get(), &bytes, &size, &offset)) {
      check(block);
      if (std::fwrite(bytes, 1, size, file.get()) != size)
        throw Error("cannot write " + part.string() + ": is the disk full?");
    }
    if (std::fclose(file.release()) != 0) throw Error("cannot write " + part.string() + ": is the disk full?");
    std::filesystem::rename(part, target);
  }
}

}  // namespace kd
