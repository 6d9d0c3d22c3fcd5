// SPDX-License-Identifier: Apache-2.0
// A VM's virtio-mem devices: max-mem, as far as it is above the boot memory, is what they have
// plugged (engine/plugging). The grant below that stays the balloon's.
#include <algorithm>
#include <utility>

#include "host-controller/vm/vm.h"

namespace acma::host {

namespace {
constexpr Micros k_first_plug_retry{5'000'000};
constexpr Micros k_longest_plug_retry{300'000'000};
// What cannot be moved (the kernel's own, mostly) lives in boot memory: the balloon leaves so much.
constexpr uint64_t k_boot_memory_part = 4;
}  // namespace

// Below this the balloon does not go; with nothing plugged that is min-mem.
Bytes Vm::least_boot_memory() const {
    const Bytes plugged = std::min(plug_.sums().requested, goal_of_devices());
    return plugged == Bytes(0)
               ? policy_->min_mem
               : std::max(policy_->min_mem - plugged, balloon_.ram() / k_boot_memory_part);
}

Bytes Vm::goal_of_devices() const {
    return plugging::goal_of(policy_->max_mem, balloon_.ram(), plug_.devices());
}

void Vm::see_devices(Now now, Actions& actions) {
    if (const auto foreign = plug_.observe(facts_.memory_devices, now.mono)) {
        note_foreign_request(*foreign, now, actions);
    }
    facts_.memory_devices = plug_.devices();
}

void Vm::decide_plug(Now now, Actions& actions) {
    if (policy_ && plug_.stuck(now.mono)) {
        mark("virtio-mem-stuck",
             "its virtio-mem devices have " + human(plug_.sums().current) + " plugged, and " +
                 human(plug_.sums().requested) +
                 " are requested: its guest does not follow, and goes on trying by itself",
             now, actions);
    } else {
        unmark("virtio-mem-stuck", now, actions);
    }
    const bool decides = policy_ && !plug_.devices().empty() && !left_alone_ &&
                         (released_ || mode_in_force() != Mode::off);
    if (plug_write_.writing || !decides) {
        return;
    }
    const Bytes goal = goal_of_devices();
    // A grant beyond boot memory is for the devices: the balloon has nothing to give back then.
    const Bytes allowed = grant_ ? grant_->size - balloon_.ram() : Bytes::max();
    const auto order = released_ ? plug_.give_back() : plug_.next(goal, allowed);
    if (!order) {
        unmark("virtio-mem-refused", now, actions);
        return;
    }
    if (plug_write_.retry_at && now.mono < *plug_write_.retry_at) {
        return;
    }
    const auto device = std::find_if(plug_.devices().begin(), plug_.devices().end(),
                                     [&](const auto& each) { return each.alias == order->alias; });
    const std::string word = order->requested > device->requested ? "plug" : "unplug";
    const std::string why = released_ ? std::string("it was released (acmactl release)")
                                      : "max-mem is " + human(policy_->max_mem) +
                                            ", its boot memory " + human(balloon_.ram());
    const std::string from_to =
        " from " + human(device->requested) + " to " + human(order->requested);
    if (!acts()) {
        if (std::exchange(plug_write_.told, goal) != goal) {
            decided("would-" + word, why + ": " + order->alias + " would go" + from_to, now,
                    actions);
        }
        return;
    }
    plug_.writes(*order);
    note_.devices = plug_.noted();
    plug_write_.writing = true;
    actions.emplace_back(PlugChange{
        *order, note_, word, why + ": the requested size of " + order->alias + " goes" + from_to});
}

Actions Vm::on_plug_written(const Result<Bytes>& in_force, const PlugChange& change, Now now) {
    Actions actions;
    if (!in_force) {
        const Micros pause =
            std::clamp(plug_write_.retry_in * 2, k_first_plug_retry, k_longest_plug_retry);
        plug_write_ = Plug{.retry_at = now.mono + pause, .retry_in = pause};
        mark("virtio-mem-refused",
             "the requested size of " + change.order.alias +
                 " was not accepted: " + in_force.error().message,
             now, actions);
        return actions;
    }
    plug_write_ = Plug{};
    unmark("virtio-mem-refused", now, actions);
    if (const auto foreign = plug_.wrote(change.order, *in_force, now.mono)) {
        note_foreign_request(*foreign, now, actions);
    } else {
        decided(change.word, change.reason, now, actions,
                {{"requested_bytes", plug_.sums().requested.count()},
                 {"plugged_bytes", plug_.sums().current.count()},
                 {"max_mem_bytes", policy_ ? policy_->max_mem.count() : 0}});
    }
    facts_.memory_devices = plug_.devices();
    StateNote note = note_;
    note.devices = plug_.noted();
    write_note(note, actions);
    decide_balloon(now, actions);
    decide_plug(now, actions);
    order_agent(now, actions);
    return actions;
}

void Vm::note_foreign_request(const plugging::Foreign& foreign, Now now, Actions& actions) {
    if (!policy_) {
        return;
    }
    yielded_ = yielded_ || (foreign.repeated && mode_in_force() == Mode::automatic);
    const std::string sentence =
        "the requested size of " + foreign.alias + " went from " + human(foreign.from) + " to " +
        human(foreign.to) + " without us: it was set by somebody else and counts as a ceiling" +
        (yielded_ ? "; repeated, so this VM is only observed until its policy is set anew" : "");
    decided("foreign-virtio-mem", sentence, now, actions,
            {{"from_bytes", foreign.from.count()}, {"to_bytes", foreign.to.count()}});
    if (plug_.has_ceiling() || yielded_) {
        mark("foreign-virtio-mem", sentence, now, actions);
    } else {
        unmark("foreign-virtio-mem", now, actions);
    }
}

}  // namespace acma::host
