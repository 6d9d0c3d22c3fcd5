// SPDX-License-Identifier: Apache-2.0
// Holds back the signals that end a program, so that it can put something right first.
#pragma once

#include <chrono>
#include <optional>

#include <signal.h>

namespace acma::ctl {

class HeldSignals {
  public:
    // INT, TERM and HUP, but none that is ignored (nohup).
    HeldSignals();
    ~HeldSignals();
    HeldSignals(const HeldSignals&) = delete;
    HeldSignals& operator=(const HeldSignals&) = delete;

    // Waits until then, or until one has come: which.
    [[nodiscard]] std::optional<int> wait_until(std::chrono::steady_clock::time_point until);

  private:
    sigset_t held_{};
    sigset_t before_{};
};

}  // namespace acma::ctl
