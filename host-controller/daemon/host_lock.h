// SPDX-License-Identifier: Apache-2.0
// One controller a host: two would undo each other's balloon targets and promise the same memory
// twice. The socket cannot tell, since another run may have been given another one.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "platform/fd.h"

namespace acma::host {

// Held as long as it lives. The kernel lets go of it with the process (flock(2)), so that a crash
// is no obstacle to the next start.
class HostLock {
  public:
    // The unit keeps this directory when it stops (RuntimeDirectoryPreserve=): a new file would
    // know nothing of whoever holds the old one.
    static constexpr const char* k_path = "/run/acma/controller.lock";

    // Error{busy}: another controller has it; its message has that one's process id. Libvirt's
    // "session" and "test" are not the host's but of a user or process: nothing is locked for them.
    [[nodiscard]] static Result<HostLock> take(const std::string& uri, const std::string& path);

  private:
    explicit HostLock(platform::Fd file) : file_(std::move(file)) {}
    platform::Fd file_;
};

}  // namespace acma::host
