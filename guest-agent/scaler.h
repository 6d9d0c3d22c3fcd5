// SPDX-License-Identifier: Apache-2.0
// Act: takes blocks and gives them back as the last scaling::Decision says. Taking may have to move
// pages about and takes its time, so a worker thread does it; giving back happens at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/base/result.h"
#include "engine/scaling/scaling.h"
#include "guest-agent/power_saver.h"
#include "platform/balloon_device.h"

namespace acma::agent {

class Scaler {
  public:
    // Attaches to the shim. not_found: there is none; busy: another agent is attached.
    [[nodiscard]] static Result<std::unique_ptr<Scaler>> open(const std::string& path,
                                                              const std::string& memory_dir);
    // Memory blocks that are wholly taken go offline from now on. Called before the first order;
    // only without a balloon device, whose host has that memory.
    void save_power(std::unique_ptr<PowerSaver> saver) { saver_ = std::move(saver); }
    // What is voluntary stays for the hold-off, then the shim gives it back.
    ~Scaler();
    Scaler(const Scaler&) = delete;
    Scaler& operator=(const Scaler&) = delete;

    // Also tells the shim that this agent is alive.
    [[nodiscard]] Result<platform::BalloonDevice::State> observe();
    // The latest order counts. Any order ends what an earlier one still takes, between two calls of
    // the shim; `give` is carried out here. `coldness`: of used blocks; may be null.
    Status order(const scaling::Decision& decision,
                 std::shared_ptr<const scaling::Coldness> coldness);

    // Tells the host again of all that is owned, soon: after a migration or a restore it may hold
    // memory for blocks that it was told of elsewhere.
    void report_again();

    struct Report {
        bool had_all = false;        // scaling::Sample::had_all
        bool migrates = false;       // the last order to take moved used memory away
        std::optional<Error> error;  // why the last order could not be carried out
    };
    [[nodiscard]] Report report() const;
    // Polls readable for POLLPRI when the shim has news.
    [[nodiscard]] int fd() const { return device_.fd(); }

  private:
    Scaler(platform::BalloonDevice device, std::string memory_dir);
    void work();
    struct Order {
        scaling::Amounts amounts;
        std::shared_ptr<const scaling::Coldness> coldness;
        Bytes owned;  // when it was decided
    };
    [[nodiscard]] Status take(const Order& order, uint64_t number);
    [[nodiscard]] Result<platform::BalloonDevice::Outcome> take_row(const scaling::Row& row,
                                                                    bool zeroes);
    [[nodiscard]] Status give(Bytes amount);
    // As the device tells them, with what is offline as owned.
    [[nodiscard]] Result<platform::BalloonDevice::State> state();
    [[nodiscard]] Result<std::vector<scaling::Window>> windows(
        const platform::BalloonDevice::State& state, platform::BalloonDevice::Look look);
    [[nodiscard]] Status rest_memory(uint64_t number);

    platform::BalloonDevice device_;  // its calls are independent of each other
    Bytes owned_;                     // as last observed
    const std::string memory_dir_;
    scaling::BackOff back_off_;          // the worker's
    scaling::BackOff offline_back_off_;  // the worker's: a bit for a memory block
    std::unique_ptr<PowerSaver> saver_;  // none: power is not saved
    std::mutex giving_;                  // what is given back does not go offline in between

    mutable std::mutex mutex_;  // protects what follows
    std::condition_variable changed_;
    std::optional<Order> ordered_;
    bool report_again_ = false;
    bool quit_ = false;
    Report report_;
    std::atomic<uint64_t> order_{0};  // counts orders: an older one is over

    std::thread worker_;
};

}  // namespace acma::agent
