// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/scaler.h"

#include <algorithm>
#include <utility>

#include "platform/clock.h"
#include "platform/memory_block.h"

namespace acma::agent {

namespace {

// A host's target is met by page-out and this loop in steps of a quarter of a second; what is not
// met in this time the shim takes by itself.
constexpr Millis k_deadline = Millis(3'000);
constexpr Millis k_hold_off = Millis(30'000);

}  // namespace

Result<std::unique_ptr<Scaler>> Scaler::open(const std::string& path,
                                             const std::string& memory_dir) {
    auto device = platform::BalloonDevice::open(path);
    if (!device) {
        return device.error();
    }
    if (const Status status = device->attach(k_deadline, k_hold_off); !status) {
        return status.error();
    }
    // An agent that was killed together with the process that recycles a memory block.
    if (const auto state = device->state(); state && state->gone_window) {
        (void)platform::bring_online(memory_dir, *state->gone_window);
    }
    return std::unique_ptr<Scaler>(new Scaler(std::move(*device), memory_dir));
}

Scaler::Scaler(platform::BalloonDevice device, std::string memory_dir)
    : device_(std::move(device)), memory_dir_(std::move(memory_dir)) {
    worker_ = std::thread([this] { work(); });
}

Scaler::~Scaler() {
    {
        const std::lock_guard lock(mutex_);
        quit_ = true;
        ++order_;
    }
    changed_.notify_one();
    worker_.join();
    saver_.reset();
}

Result<platform::BalloonDevice::State> Scaler::state() {
    auto state = device_.state();
    if (state && saver_) {
        const Bytes offline = saver_->offline();
        state->ram += offline;
        state->owned += offline;
        state->voluntary += offline;
    }
    return state;
}

Result<std::vector<scaling::Window>> Scaler::windows(const platform::BalloonDevice::State& state,
                                                     platform::BalloonDevice::Look look) {
    auto windows = device_.windows(state, look);
    if (windows && saver_) {
        saver_->add_to(*windows);
    }
    return windows;
}

Result<platform::BalloonDevice::State> Scaler::observe() {
    auto state = this->state();
    if (state) {
        owned_ = state->owned;
    }
    return state;
}

Status Scaler::order(const scaling::Decision& decision,
                     std::shared_ptr<const scaling::Coldness> coldness) {
    {
        const std::lock_guard lock(mutex_);
        ++order_;
        ordered_.reset();
        report_.had_all = false;
        if (decision.action == scaling::Action::take) {
            ordered_ =
                Order{.amounts = decision.take, .coldness = std::move(coldness), .owned = owned_};
        } else if (saver_ && decision.action == scaling::Action::hold) {
            ordered_ = Order{};  // what did not go offline may go now
        }
    }
    changed_.notify_one();
    return decision.action == scaling::Action::give ? give(decision.give) : Status();
}

void Scaler::report_again() {
    {
        const std::lock_guard lock(mutex_);
        report_again_ = true;
    }
    changed_.notify_one();
}

Scaler::Report Scaler::report() const {
    const std::lock_guard lock(mutex_);
    return report_;
}

void Scaler::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return quit_ || ordered_ || report_again_; });
        if (quit_) {
            return;
        }
        if (std::exchange(report_again_, false)) {
            lock.unlock();
            const Status status = device_.report_again();
            lock.lock();
            report_.error = status ? std::nullopt : std::optional(status.error());
            continue;
        }
        const Order order = *std::exchange(ordered_, std::nullopt);
        const uint64_t number = order_;
        lock.unlock();
        Status status = order.amounts.all > Bytes(0) ? take(order, number) : Status();
        if (status && saver_) {
            status = rest_memory(number);
        }
        lock.lock();
        report_.error = status ? std::nullopt : std::optional(status.error());
    }
}

Status Scaler::take(const Order& order, uint64_t number) {
    const auto state = this->state();
    if (!state) {
        return state.error();
    }
    const auto windows = this->windows(*state, platform::BalloonDevice::Look::free);
    if (!windows) {
        return windows.error();
    }
    // The order before this one ends with its row: what that took since is not taken once more,
    // or the guest would end below its min-mem.
    scaling::Amounts amounts = order.amounts;
    amounts.all -= state->owned - order.owned;
    const auto rows =
        scaling::take_rows(*windows, amounts, back_off_,
                           order.coldness ? *order.coldness : scaling::Coldness(), platform::now());
    bool had_all = scaling::use_up(rows, amounts);
    bool migrates = false;
    for (const auto& row : rows) {
        if (order_ != number) {
            return {};
        }
        const auto outcome = take_row(row, state->zeroes);
        if (!outcome) {
            return outcome.error();
        }
        if (!row.free_only) {
            back_off_.failed(row.window, outcome->busy, platform::now());
            migrates = true;
        }
        had_all = had_all && outcome->done == row.bits;
        if (outcome->no_memory != 0) {
            break;
        }
    }
    const std::lock_guard lock(mutex_);
    report_.had_all = had_all && order_ == number;
    report_.migrates = migrates;
    return {};
}

// Where the kernel would zero it, a whole memory block costs a tenth as much.
Result<platform::BalloonDevice::Outcome> Scaler::take_row(const scaling::Row& row, bool zeroes) {
    if (zeroes && row.free_only && scaling::is_whole(row) &&
        device_.take_whole(row.window, memory_dir_)) {
        return platform::BalloonDevice::Outcome{.done = row.bits};
    }
    return device_.take(row);
}

Status Scaler::rest_memory(uint64_t number) {
    const auto state = this->state();
    if (!state) {
        return state.error();
    }
    if (state->has_device) {
        return {};
    }
    while (order_ == number) {
        uint64_t block = 0;
        {
            const std::lock_guard lock(giving_);
            const auto windows = this->windows(*state, platform::BalloonDevice::Look::owned);
            if (!windows) {
                return windows.error();
            }
            const auto blocks = scaling::blocks_to_offline(*windows, saver_->block_windows());
            const auto next = std::find_if(blocks.begin(), blocks.end(), [&](uint64_t candidate) {
                return offline_back_off_.busy(candidate, platform::now()) == 0;
            });
            if (next == blocks.end()) {
                return {};
            }
            block = *next;
            if (Status status = saver_->note(block); !status) {
                return status;
            }
        }
        const bool gone = static_cast<bool>(saver_->take(block));
        offline_back_off_.failed(block, gone ? 0 : 1, platform::now());
    }
    return {};
}

Status Scaler::give(Bytes amount) {
    const std::lock_guard lock(giving_);
    const auto state = this->state();
    if (!state) {
        return state.error();
    }
    const auto windows = this->windows(*state, platform::BalloonDevice::Look::owned);
    if (!windows) {
        return windows.error();
    }
    for (const auto& row : scaling::give_rows(*windows, amount)) {
        const auto window =
            std::find_if(windows->begin(), windows->end(),
                         [&](const auto& candidate) { return candidate.number == row.window; });
        if (window->offline) {
            if (const Status status = saver_->give(saver_->block_of(row.window)); !status) {
                return status;
            }
            continue;
        }
        if (const auto outcome = device_.give(row); !outcome) {
            return outcome.error();
        }
    }
    return {};
}

}  // namespace acma::agent
