// SPDX-License-Identifier: Apache-2.0
#include "platform/psi_trigger.h"

#include <cerrno>

#include <fcntl.h>

namespace acma::platform {

Result<Fd> open_psi_trigger(const std::string& path, Micros stall, Micros window) {
    Fd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fd) {
        return error_from_errno(errno, "open " + path);
    }
    // NB: the kernel overwrites the last byte with NUL, so it must not be a digit
    // (psi_write: buf[buf_size - 1] = '\0'); std::string's own NUL is sent for that.
    const std::string text =
        "some " + std::to_string(stall.count()) + " " + std::to_string(window.count());
    if (::write(fd.get(), text.c_str(), text.size() + 1) < 0) {
        return error_from_errno(errno, "arm a PSI trigger '" + text + "' on " + path);
    }
    return fd;
}

}  // namespace acma::platform
