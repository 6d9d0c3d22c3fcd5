// SPDX-License-Identifier: Apache-2.0
// The last cycle of the arbiter, for the decision log and for `explain`.
#include <algorithm>

#include "host-controller/fleet/fleet.h"
#include "host-controller/fleet/standing.h"

namespace acma::host {

arbiter::Record Fleet::record() const {
    arbiter::Record record{.wall = cycle_.wall,
                           .memory = host_.mem_total,
                           .available = host_.mem_available,
                           .host = cycle_.host,
                           .vms = {},
                           .free = cycle_.decision.free,
                           .lacking = cycle_.decision.lacking,
                           .missing = cycle_.decision.missing};
    record.vms.reserve(cycle_.ids.size());
    for (size_t i = 0; i < cycle_.ids.size(); ++i) {
        const auto vm = vms_.find(cycle_.ids[i]);
        record.vms.push_back({vm == vms_.end() ? std::string() : vm->second.facts().name,
                              cycle_.ids[i].uuid, cycle_.guests[i], cycle_.decision.grants[i]});
    }
    return record;
}

std::optional<proto::ExplainEntry> Fleet::standing(const VmId& id) const {
    const auto found = std::find(cycle_.ids.begin(), cycle_.ids.end(), id);
    if (found == cycle_.ids.end()) {
        return std::nullopt;
    }
    return standing_of(record(), static_cast<size_t>(found - cycle_.ids.begin()));
}

}  // namespace acma::host
