// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/held_signals.h"

#include <algorithm>

#include <time.h>

namespace acma::ctl {

HeldSignals::HeldSignals() {
    ::sigemptyset(&held_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction action {};
        if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
            ::sigaddset(&held_, signal);
        }
    }
    ::sigprocmask(SIG_BLOCK, &held_, &before_);
}

HeldSignals::~HeldSignals() {
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<int> HeldSignals::wait_until(std::chrono::steady_clock::time_point until) {
    const auto left = std::max(until - std::chrono::steady_clock::now(),
                               std::chrono::steady_clock::duration::zero());
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec patience{.tv_sec = seconds.count(),
                            .tv_nsec = std::chrono::nanoseconds(left - seconds).count()};
    const int signal = ::sigtimedwait(&held_, nullptr, &patience);
    return signal > 0 ? std::optional(signal) : std::nullopt;
}

}  // namespace acma::ctl
