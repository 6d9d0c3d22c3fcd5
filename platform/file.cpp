// SPDX-License-Identifier: Apache-2.0
#include "platform/file.h"

#include <cerrno>

#include <fcntl.h>

namespace acma::platform {

namespace {
// Fills `buffer` with everything from offset 0; some /proc files give less than asked for.
Status read_all(int fd, std::string& buffer, const std::string& path) {
    constexpr size_t k_first = 8192;
    if (buffer.size() < k_first) {
        buffer.resize(k_first);
    }
    size_t used = 0;
    for (;;) {
        if (used == buffer.size()) {
            if (buffer.size() >= k_max_file_bytes) {
                return Error{ErrorCode::too_large, path + " has more than 1 MiB"};
            }
            buffer.resize(buffer.size() * 2);
        }
        const ssize_t got =
            ::pread(fd, buffer.data() + used, buffer.size() - used, static_cast<off_t>(used));
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return error_from_errno(errno, "read " + path);
        }
        if (got == 0) {
            buffer.resize(used);
            return {};
        }
        used += static_cast<size_t>(got);
    }
}
}  // namespace

Result<std::string> read_file(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return error_from_errno(errno, "open " + path);
    }
    std::string text;
    if (const Status status = read_all(fd.get(), text, path); !status) {
        return status.error();
    }
    text.shrink_to_fit();  // a tree of DAMON is a thousand files of a few bytes
    return text;
}

Status write_file(const std::string& path, std::string_view value) {
    const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) {
        return error_from_errno(errno, "open " + path);
    }
    const ssize_t written = ::write(fd.get(), value.data(), value.size());
    if (written < 0) {
        return error_from_errno(errno, "write '" + std::string(value) + "' to " + path);
    }
    if (static_cast<size_t>(written) != value.size()) {
        return Error{ErrorCode::io, "short write to " + path};
    }
    return {};
}

Result<PolledFile> PolledFile::open(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return error_from_errno(errno, "open " + path);
    }
    return PolledFile(std::move(fd), path);
}

Result<std::string_view> PolledFile::read() {
    if (const Status status = read_all(fd_.get(), buffer_, path_); !status) {
        return status.error();
    }
    return std::string_view(buffer_);
}

}  // namespace acma::platform
