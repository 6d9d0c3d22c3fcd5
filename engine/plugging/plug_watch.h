// SPDX-License-Identifier: Apache-2.0
// Follows the virtio-mem devices of one VM: which requested sizes are ours and which somebody
// else's, and what is to be requested next. Pure.
//
// A requested size that we have not written is a ceiling, as a foreign balloon target is: never
// fought, we only go lower. What stands when a device is first seen is none: it is what the domain
// was started with, and comes back on release.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/units.h"
#include "engine/plugging/plugging.h"

namespace acma::plugging {

// Memory is unplugged in steps, each once the last has arrived: the guest has to move what is in
// use, and must not be asked for all of it at once.
constexpr Bytes k_unplug_step = 256_MiB;
constexpr uint64_t k_unplug_part = 8;
// A guest whose devices do not move for this long does not follow. Its driver goes on trying by
// itself, with pauses of up to five minutes (drivers/virtio/virtio_mem.c).
constexpr Micros k_stuck_after = Seconds(60);
// So long what libvirt tells may be from before our last change.
constexpr Micros k_told_late = Seconds(2);
// So many foreign changes in this time mean that somebody else manages the VM.
constexpr size_t k_foreign_limit = 3;
constexpr Micros k_foreign_window = Seconds(600);

// What is noted of a device, for the time after a restart.
struct Noted {
    std::string alias;
    Bytes before;             // requested before we came
    std::vector<Bytes> ours;  // in force, or about to be
    bool operator==(const Noted&) const = default;
};

struct Foreign {
    std::string alias;
    Bytes from;
    Bytes to;
    bool repeated = false;  // the limit is reached
    bool operator==(const Foreign&) const = default;
};

struct Order {
    std::string alias;
    Bytes requested;
    std::vector<Bytes> ours;  // what may be in force now
    bool operator==(const Order&) const = default;
};

class PlugWatch {
  public:
    explicit PlugWatch(std::vector<Noted> noted = {}) : noted_(std::move(noted)) {}

    // What libvirt tells of the devices; again and again, with the same, on ticks. Returns the
    // first change that is somebody else's.
    [[nodiscard]] std::optional<Foreign> observe(std::vector<Device> devices, Time now);

    // The next request on the way to `goal`. More than `allowed` together is not plugged; what is
    // plugged already stays.
    [[nodiscard]] std::optional<Order> next(Bytes goal, Bytes allowed) const;
    // On the way to what was there before we came, where that was more.
    [[nodiscard]] std::optional<Order> give_back() const;

    // Before it is written, so that what is noted is never behind.
    void writes(const Order& order);
    // It is in force; or another than that, which is somebody else's.
    [[nodiscard]] std::optional<Foreign> wrote(const Order& order, Bytes in_force, Time now);

    [[nodiscard]] const std::vector<Device>& devices() const { return devices_; }
    [[nodiscard]] Sums sums() const { return sums_of(devices_); }
    // What they may have together, as far as others allow it.
    [[nodiscard]] Bytes most() const;
    [[nodiscard]] bool has_ceiling() const;
    [[nodiscard]] bool stuck(Time now) const;
    [[nodiscard]] std::vector<Noted> noted() const;

  private:
    struct Known {
        Bytes before;
        std::vector<Bytes> ours;
        std::optional<Bytes> ceiling = {};
        bool written = false;  // by us, ever
        // What libvirt tells just after a change may have been read before it.
        std::optional<Bytes> replaced = {};
        Time replaced_at{};
    };
    Known& known(const Device& device);
    [[nodiscard]] std::vector<Bytes> ceilings() const;
    [[nodiscard]] std::optional<Order> first_of(const std::vector<Bytes>& wanted) const;
    [[nodiscard]] Foreign foreign(Device& device, Bytes requested, Time now);

    std::vector<Noted> noted_;  // before a device is first seen
    std::vector<Device> devices_;
    std::map<std::string, Known> known_;
    std::deque<Time> foreign_;
    std::optional<Time> moves_since_;  // requested and current differ, and no progress since
};

}  // namespace acma::plugging
