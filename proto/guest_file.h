// SPDX-License-Identifier: Apache-2.0
// Reading a file in a guest through the stock QEMU guest agent: its guest-file-open, -read and
// -close, as libvirt hands them on. A reply is the guest's word and may be anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace acma::proto {

[[nodiscard]] std::string open_file_request(std::string_view path);  // to read
[[nodiscard]] std::string read_file_request(int64_t handle, size_t most);
[[nodiscard]] std::string close_file_request(int64_t handle);

[[nodiscard]] Result<int64_t> opened_file(std::string_view reply);
// What was read; more than `most` bytes are an error.
[[nodiscard]] Result<std::string> read_from_file(std::string_view reply, size_t most);

}  // namespace acma::proto
