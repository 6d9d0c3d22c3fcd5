// SPDX-License-Identifier: Apache-2.0
#include "engine/plugging/plug_watch.h"

#include <algorithm>
#include <utility>

namespace acma::plugging {

namespace {
bool has(const std::vector<Bytes>& sizes, Bytes size) {
    return std::find(sizes.begin(), sizes.end(), size) != sizes.end();
}
}  // namespace

PlugWatch::Known& PlugWatch::known(const Device& device) {
    const auto [entry, first] = known_.try_emplace(device.alias);
    if (first) {
        entry->second = {.before = device.requested, .ours = {device.requested}};
        for (const Noted& noted : noted_) {
            if (noted.alias == device.alias) {
                entry->second = {.before = noted.before, .ours = noted.ours, .written = true};
            }
        }
    }
    return entry->second;
}

std::optional<Foreign> PlugWatch::observe(std::vector<Device> devices, Time now) {
    const bool moved = devices != devices_;
    std::optional<Foreign> found;
    for (Device& device : devices) {
        const Known& of = known(device);
        if (of.replaced == device.requested && now - of.replaced_at < k_told_late) {
            device.requested = of.ours.back();
        } else if (!has(of.ours, device.requested) && !found) {
            found = foreign(device, device.requested, now);
        }
    }
    devices_ = std::move(devices);
    const bool arrived = std::all_of(devices_.begin(), devices_.end(), [](const Device& device) {
        return device.current == device.requested;
    });
    if (arrived) {
        moves_since_.reset();
    } else if (moved || !moves_since_) {
        moves_since_ = now;
    }
    return found;
}

Foreign PlugWatch::foreign(Device& device, Bytes requested, Time now) {
    Known& of = known(device);
    Foreign change{.alias = device.alias, .from = of.ours.back(), .to = requested};
    of.ours = {requested};
    of.ceiling = requested < device.size ? std::optional(requested) : std::nullopt;
    of.replaced.reset();
    device.requested = requested;
    while (!foreign_.empty() && now - foreign_.front() > k_foreign_window) {
        foreign_.pop_front();
    }
    foreign_.push_back(now);
    change.repeated = foreign_.size() >= k_foreign_limit;
    if (change.repeated) {
        foreign_.clear();
    }
    return change;
}

std::vector<Bytes> PlugWatch::ceilings() const {
    std::vector<Bytes> most;
    most.reserve(devices_.size());
    for (const Device& device : devices_) {
        most.push_back(known_.at(device.alias).ceiling.value_or(device.size));
    }
    return most;
}

Bytes PlugWatch::most() const {
    Bytes sum;
    for (const Bytes most : ceilings()) {
        sum += most;
    }
    return sum;
}

bool PlugWatch::has_ceiling() const {
    return std::any_of(known_.begin(), known_.end(),
                       [](const auto& entry) { return entry.second.ceiling.has_value(); });
}

// What grows comes first: a guest that needs memory waits for none that is given up.
std::optional<Order> PlugWatch::first_of(const std::vector<Bytes>& wanted) const {
    std::optional<Order> order;
    for (size_t i = 0; i < devices_.size(); ++i) {
        const Device& device = devices_[i];
        const bool grows = wanted[i] > device.requested;
        if (grows || (wanted[i] < device.requested && !order)) {
            order = Order{device.alias, wanted[i], known_.at(device.alias).ours};
        }
        if (grows) {
            break;
        }
    }
    return order;
}

std::optional<Order> PlugWatch::next(Bytes goal, Bytes allowed) const {
    const Sums sums = this->sums();
    if (goal >= sums.requested) {
        const Bytes total = std::min(goal, std::max(allowed, sums.requested));
        return first_of(toward(total, devices_, ceilings()));
    }
    if (moves_since_) {
        return std::nullopt;
    }
    const Bytes step = std::max(k_unplug_step, sums.size / k_unplug_part);
    return first_of(toward(std::max(goal, sums.requested - step), devices_, ceilings()));
}

std::optional<Order> PlugWatch::give_back() const {
    const std::vector<Bytes> most = ceilings();
    std::vector<Bytes> wanted;
    wanted.reserve(devices_.size());
    for (size_t i = 0; i < devices_.size(); ++i) {
        const Device& device = devices_[i];
        const Bytes before = std::min(known_.at(device.alias).before, most[i]);
        wanted.push_back(std::max(device.requested, before));
    }
    return first_of(wanted);
}

void PlugWatch::writes(const Order& order) {
    Known& of = known_.at(order.alias);
    of.written = true;
    of.ours = order.ours;
    if (!has(of.ours, order.requested)) {
        of.ours.push_back(order.requested);
    }
}

std::optional<Foreign> PlugWatch::wrote(const Order& order, Bytes in_force, Time now) {
    const auto device =
        std::find_if(devices_.begin(), devices_.end(),
                     [&order](const Device& each) { return each.alias == order.alias; });
    if (device == devices_.end()) {
        return std::nullopt;  // unplugged as a whole meanwhile
    }
    if (in_force != order.requested) {
        return foreign(*device, in_force, now);
    }
    Known& of = known_.at(order.alias);
    of.ours = {in_force};
    of.replaced = std::exchange(device->requested, in_force);
    of.replaced_at = now;
    moves_since_ = now;
    return std::nullopt;
}

bool PlugWatch::stuck(Time now) const {
    return moves_since_ && now - *moves_since_ >= k_stuck_after;
}

std::vector<Noted> PlugWatch::noted() const {
    std::vector<Noted> all;
    for (const auto& [alias, known] : known_) {
        if (known.written) {
            all.push_back({alias, known.before, known.ours});
        }
    }
    return all;
}

}  // namespace acma::plugging
