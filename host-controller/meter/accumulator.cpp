// SPDX-License-Identifier: Apache-2.0
#include "host-controller/meter/accumulator.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace acma::host {

namespace {
constexpr uint64_t k_micros_a_second = 1'000'000;

// Whole byte-seconds of `bytes` over `length`; what makes no whole one is kept in `rest`, so that
// all pieces together are the integral.
ByteSeconds integrate(Bytes bytes, Micros length, uint64_t& rest) {
    const ByteSeconds micros =
        ByteSeconds{bytes.count()} * static_cast<uint64_t>(length.count()) + rest;
    rest = static_cast<uint64_t>(micros % k_micros_a_second);
    return micros / k_micros_a_second;
}
}  // namespace

size_t UsageBatch::entries() const {
    size_t count = 0;
    for (const auto& [uuid, vm] : vms) {
        count += 1 + vm.hours.size();
    }
    return count;
}

void UsageBatch::append(const UsageBatch& later) {
    until = later.until;
    for (auto& [uuid, vm] : vms) {
        vm.runs = false;  // or it is in `later`
    }
    for (const auto& [uuid, more] : later.vms) {
        VmUsage& vm = vms[uuid];
        vm.name = more.name;
        vm.runs = more.runs;
        for (const auto& [hour, usage] : more.hours) {
            vm.hours[hour] += usage;
        }
    }
}

// In pieces that end with an hour of the wall clock.
void Accumulator::file(Running& vm, Micros from_wall, Micros length, bool measured) {
    while (length > Micros(0)) {
        const Hour hour = std::chrono::floor<Hour>(from_wall);
        const Micros piece = std::min<Micros>(length, hour + Hour(1) - from_wall);
        Usage usage;
        if (measured) {
            const Bytes used = vm.last.host->used;
            usage.measured = piece;
            usage.used = integrate(used, piece, vm.used_rest);
            usage.above_min = integrate(used - vm.last.min_mem, piece, vm.above_min_rest);
            vm.total.used += usage.used;
            vm.total.above_min += usage.above_min;
        } else {
            usage.missing = piece;
        }
        vm.hours[hour] += usage;
        from_wall += piece;
        length -= piece;
    }
}

void Accumulator::observe(const std::vector<Reading>& vms, const Moment& now) {
    if (!taken_until_) {
        taken_until_ = last_ = now;
    }
    const Micros passed = std::max(now.mono - last_.mono, Micros(0));
    const Micros from_wall = now.wall - passed;
    ++round_;
    auto next = running_.begin();  // readings usually come in this order
    for (const Reading& reading : vms) {
        const bool follows = next != running_.end() && next->first == reading.uuid;
        const auto [entry, is_new] =
            follows ? std::pair(next, false) : running_.try_emplace(reading.uuid);
        next = std::next(entry);
        Running& vm = entry->second;
        if (!is_new) {
            const Micros counts =
                vm.last.host
                    ? std::clamp(vm.last.host->at + k_counts_for - last_.mono, Micros(0), passed)
                    : Micros(0);
            file(vm, from_wall, counts, true);
            file(vm, from_wall + counts, passed - counts, false);
        }
        newcomers_ = newcomers_ || is_new;
        vm.last = reading;
        vm.seen_in = round_;
    }
    for (auto vm = running_.begin(); vm != running_.end();) {
        if (vm->second.seen_in != round_) {
            VmUsage& ended = ended_[vm->first];
            ended.name = vm->second.last.name;
            for (const auto& [hour, usage] : vm->second.hours) {
                ended.hours[hour] += usage;
            }
            vm = running_.erase(vm);
        } else {
            ++vm;
        }
    }
    last_ = now;
}

std::optional<UsageBatch> Accumulator::take() {
    if (!taken_until_) {
        return std::nullopt;
    }
    UsageBatch batch{*taken_until_, last_, std::exchange(ended_, {})};
    for (auto& [uuid, vm] : running_) {
        VmUsage& usage = batch.vms[uuid];
        usage.name = vm.last.name;
        usage.runs = true;
        for (const auto& [hour, more] : std::exchange(vm.hours, {})) {
            usage.hours[hour] += more;
        }
    }
    taken_until_ = last_;
    newcomers_ = false;
    return batch;
}

std::optional<Accumulator::Total> Accumulator::total(const std::string& uuid) const {
    const auto vm = running_.find(uuid);
    return vm == running_.end() ? std::nullopt : std::optional(vm->second.total);
}

}  // namespace acma::host
