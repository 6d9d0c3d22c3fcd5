// SPDX-License-Identifier: Apache-2.0
// Small files of the kernel: read whole, written in one write().
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "platform/fd.h"

namespace acma::platform {

// No file that we read whole is larger: /proc/vmstat has about 5 KiB, /proc/iomem of a big host
// some 100 KiB.
constexpr size_t k_max_file_bytes = size_t{1} << 20;

// The whole text; too_large above k_max_file_bytes.
[[nodiscard]] Result<std::string> read_file(const std::string& path);

// One write() of `value`; sysfs takes a value only whole. Errors carry the path.
[[nodiscard]] Status write_file(const std::string& path, std::string_view value);

// A file that is read again and again, such as /proc/vmstat: one open, one pread() a reading.
class PolledFile {
  public:
    [[nodiscard]] static Result<PolledFile> open(const std::string& path);

    // The text as of now; valid until the next call.
    [[nodiscard]] Result<std::string_view> read();

  private:
    PolledFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
    Fd fd_;
    std::string path_;
    std::string buffer_;
};

}  // namespace acma::platform
