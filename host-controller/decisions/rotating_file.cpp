// SPDX-License-Identifier: Apache-2.0
#include "host-controller/decisions/rotating_file.h"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <sys/stat.h>

namespace acma::host {

namespace {
constexpr mode_t k_mode = 0600;
}  // namespace

Status RotatingFile::append(std::string_view line) {
    struct stat found {};
    if (file_ && (::fstat(file_.get(), &found) != 0 || found.st_nlink == 0)) {
        file_.reset();
    }
    if (!file_) {
        if (Status opened = open(); !opened) {
            return opened;
        }
    }
    if (size_ > 0 && size_ + line.size() + 2 > most_.count()) {
        if (Status rotated = rotate(); !rotated) {
            return rotated;
        }
    }
    std::string text = broken_end_ ? "\n" : "";
    text.append(line).append("\n");
    const ssize_t written = ::write(file_.get(), text.data(), text.size());
    if (written == static_cast<ssize_t>(text.size())) {
        size_ += text.size();
        broken_end_ = false;
        return {};
    }
    const int reason = written < 0 ? errno : ENOSPC;
    // What came of a line is taken back. If that fails as well, the next one begins a line of its
    // own.
    [[maybe_unused]] const int cut = ::ftruncate(file_.get(), static_cast<off_t>(size_));
    return failed(reason);
}

Status RotatingFile::open() {
    // Not to be waited for where it is a FIFO, nor to be followed: only a file is good.
    constexpr int k_flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    platform::Fd file(::open(path_.c_str(), k_flags, k_mode));
    struct stat found {};
    if (!file || ::fstat(file.get(), &found) != 0) {
        return failed(errno);
    }
    if (!S_ISREG(found.st_mode)) {
        return Error{ErrorCode::invalid, path_ + ": is not a regular file"};
    }
    if (::fchmod(file.get(), k_mode) != 0) {
        return failed(errno);
    }
    size_ = static_cast<uint64_t>(found.st_size);
    char last = '\n';
    broken_end_ =
        size_ > 0 && ::pread(file.get(), &last, 1, found.st_size - 1) == 1 && last != '\n';
    file_ = std::move(file);
    return {};
}

Status RotatingFile::rotate() {
    if (::rename(path_.c_str(), (path_ + ".1").c_str()) != 0) {
        return failed(errno);
    }
    file_.reset();
    return open();
}

Error RotatingFile::failed(int reason) {
    file_.reset();
    return error_from_errno(reason, path_);
}

}  // namespace acma::host
