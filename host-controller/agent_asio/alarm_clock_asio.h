// SPDX-License-Identifier: Apache-2.0
// Wakes many sleepers with one timer, on a grid of 10 ms: with a timer each, 1,000 links that are
// due at 1,000 instants cost as many turns of the reactor and twice as many changes of its timer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/units.h"
#include "host-controller/asio.h"
#include "platform/clock.h"

namespace acma::host {

class AlarmClock {
  public:
    class Sleeper {
      public:
        Sleeper() = default;
        Sleeper(const Sleeper&) = delete;
        Sleeper& operator=(const Sleeper&) = delete;
        virtual ~Sleeper() = default;
        virtual void wake(Time now) = 0;

      private:
        friend class AlarmClock;
        std::optional<Time> wake_at_;  // its one alarm that counts
    };

    explicit AlarmClock(asio::io_context& context) : timer_(context) {}
    AlarmClock(const AlarmClock&) = delete;
    AlarmClock& operator=(const AlarmClock&) = delete;
    ~AlarmClock() = default;

    // At `when` or up to 10 ms later, unless it is woken earlier: whoever is woken too early looks
    // when it is due, and calls this again. Never wakes from within.
    void wake(const std::shared_ptr<Sleeper>& sleeper, Time when) {
        const Time at = on_grid(when);
        if (sleeper->wake_at_ && *sleeper->wake_at_ <= at) {
            return;
        }
        sleeper->wake_at_ = at;
        alarms_.push_back(Alarm{at, sleeper});
        std::push_heap(alarms_.begin(), alarms_.end(), later);
        set_timer();
    }

  private:
    struct Alarm {
        Time at;
        std::weak_ptr<Sleeper> sleeper;
    };
    static bool later(const Alarm& a, const Alarm& b) { return a.at > b.at; }

    static Time on_grid(Time when) {
        constexpr int64_t k_grid_us = 10'000;
        const int64_t us = when.time_since_epoch().count();
        return Time(Micros((us + k_grid_us - 1) / k_grid_us * k_grid_us));
    }

    void set_timer() {
        if (alarms_.empty() || (set_for_ && *set_for_ <= alarms_.front().at)) {
            return;
        }
        set_for_ = alarms_.front().at;
        timer_.expires_after(std::max(*set_for_ - platform::now(), Micros(0)));
        timer_.async_wait([this](boost::system::error_code cancelled) {
            if (!cancelled) {
                ring();
            }
        });
    }

    void ring() {
        const Time now = platform::now();
        set_for_.reset();
        std::vector<Alarm> due;  // whoever is woken may set another alarm
        while (!alarms_.empty() && alarms_.front().at <= now) {
            std::pop_heap(alarms_.begin(), alarms_.end(), later);
            due.push_back(std::move(alarms_.back()));
            alarms_.pop_back();
        }
        for (const Alarm& alarm : due) {
            const auto sleeper = alarm.sleeper.lock();
            if (sleeper && sleeper->wake_at_ == alarm.at) {
                sleeper->wake_at_.reset();
                sleeper->wake(now);
            }
        }
        set_timer();
    }

    asio::steady_timer timer_;
    std::vector<Alarm> alarms_;  // a heap, the earliest first
    std::optional<Time> set_for_;
};

}  // namespace acma::host
