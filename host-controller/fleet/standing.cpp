// SPDX-License-Identifier: Apache-2.0
#include "host-controller/fleet/standing.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace acma::host {

namespace {
using arbiter::Guest;
using arbiter::Record;
using arbiter::Why;

// The ones that matter most; the rest are counted.
constexpr size_t k_named = 3;

Bytes promised(const Guest& guest) {
    return std::max(guest.grant, guest.holds);
}

bool is_first(const Guest& guest) {
    return guest.grant < guest.min || (guest.needs && guest.needs->pressed);
}

// "vm2 (300 MiB), vm3 (100 MiB) and 4 others", the most first; "" of none.
std::string named(std::vector<std::pair<Bytes, std::string>> vms) {
    std::stable_sort(vms.begin(), vms.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::string text;
    for (size_t i = 0; i < std::min(vms.size(), k_named); ++i) {
        text += (i == 0 ? "" : ", ") + vms[i].second + " (" + human(vms[i].first) + ")";
    }
    return vms.size() > k_named ? text + " and " + std::to_string(vms.size() - k_named) + " others"
                                : text;
}

std::string use_of(const Guest& guest) {
    if (!guest.needs) {
        return "what it needs is not known, or its word is not taken, so it keeps what it has";
    }
    return "it uses " + human(guest.needs->used) + ", of that " + human(guest.needs->active) +
           " actively" +
           (guest.needs->pressed ? ", and stalls longer than its policy accepts" : "");
}

std::string what_is_missing(const Record& record, size_t self) {
    const Record::Vm& vm = record.vms[self];
    std::vector<std::pair<Bytes, std::string>> givers;
    std::vector<std::pair<Bytes, std::string>> before;
    for (size_t i = 0; i < record.vms.size(); ++i) {
        const Record::Vm& other = record.vms[i];
        if (i == self || other.guest.fixed) {
            continue;
        }
        if (const Bytes above = promised(other.guest) - other.grant.fair; above > Bytes(0)) {
            givers.emplace_back(above, other.name);
        }
        const Bytes lacks = other.grant.fair - other.grant.size;
        if (lacks > Bytes(0) && is_first(other.guest) && !is_first(vm.guest)) {
            before.emplace_back(lacks, other.name);
        }
    }
    std::string text = "; " + human(vm.grant.fair - vm.grant.size) +
                       " are missing to its part of " + human(vm.grant.fair);
    text +=
        givers.empty() ? "" : ", which others have to give up first: " + named(std::move(givers));
    text += before.empty()
                ? ""
                : "; before it come those that stall or lack min-mem: " + named(std::move(before));
    return text;
}

std::string sentence_of(const Record& record, size_t self) {
    const auto& [name, uuid, guest, grant] = record.vms[self];
    if (guest.fixed) {
        return "it is left alone, and counts with " + human(promised(guest)) + " and QEMU's own " +
               human(guest.own);
    }
    std::string text = "it may have " + human(grant.size) + ": " + use_of(guest);
    if (grant.why == Why::stuck) {
        return text + "; its balloon does not follow and stands at " + human(*guest.stuck_at) +
               ": others are asked for what it does not give";
    }
    const Bytes apart = std::max(grant.fair, grant.size) - std::min(grant.fair, grant.size);
    if (grant.size < grant.fair && apart >= arbiter::k_still) {
        text += what_is_missing(record, self);
    } else if (grant.size > grant.fair && apart >= arbiter::k_still) {
        text += "; it goes down to its part of " + human(grant.fair);
    } else {
        text += "; that is its part of the host";
    }
    if (guest.holds > grant.size + arbiter::k_still) {
        text += "; it has not given back " + human(guest.holds - grant.size) + " yet";
    }
    return text + "; of the host's budget of " + human(record.host.budget) + " " +
           human(record.free) + " are promised to nobody";
}
}  // namespace

proto::ExplainEntry standing_of(const Record& record, size_t vm) {
    const auto& [name, uuid, guest, grant] = record.vms[vm];
    proto::ExplainEntry entry{.time = record.wall,
                              .decision = "standing",
                              .reason = sentence_of(record, vm),
                              .numbers = {{"grant_bytes", grant.size.count()},
                                          {"fair_bytes", grant.fair.count()},
                                          {"holds_bytes", guest.holds.count()},
                                          {"min_bytes", guest.min.count()},
                                          {"max_bytes", guest.max.count()},
                                          {"shares", guest.shares},
                                          {"budget_bytes", record.host.budget.count()},
                                          {"reserved_bytes", record.host.reserved.count()},
                                          {"free_bytes", record.free.count()}}};
    if (guest.needs) {
        entry.numbers.emplace("used_bytes", guest.needs->used.count());
        entry.numbers.emplace("active_bytes", guest.needs->active.count());
    }
    return entry;
}

}  // namespace acma::host
