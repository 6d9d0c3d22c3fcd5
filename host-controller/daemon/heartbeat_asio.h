// SPDX-License-Identifier: Apache-2.0
// Calls something at a steady rate on the reactor.
#pragma once

#include <functional>

#include "host-controller/asio.h"

namespace acma::host {

class Heartbeat {
  public:
    Heartbeat(asio::io_context& context, std::chrono::milliseconds period,
              std::function<void()> beat)
        : timer_(context), period_(period), beat_(std::move(beat)) {
        timer_.expires_after(std::chrono::milliseconds(0));
        wait();
    }
    Heartbeat(const Heartbeat&) = delete;
    Heartbeat& operator=(const Heartbeat&) = delete;
    ~Heartbeat() = default;

  private:
    void wait() {
        timer_.async_wait([this](boost::system::error_code cancelled) {
            if (cancelled) {
                return;
            }
            beat_();
            // From the previous time on, so that the rate holds; beats that were missed stay so.
            const auto now = std::chrono::steady_clock::now();
            const auto next = timer_.expiry() + period_;
            timer_.expires_at(next > now ? next : now + period_);
            wait();
        });
    }

    asio::steady_timer timer_;
    std::chrono::milliseconds period_;
    std::function<void()> beat_;
};

}  // namespace acma::host
