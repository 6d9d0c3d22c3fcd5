// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/left_alone.h"

namespace acma::host {

std::vector<LeftAlone> reasons_to_leave_alone(const DomainFacts& facts,
                                              const Circumstances& circumstances) {
    std::vector<LeftAlone> reasons;
    if (facts.pins_memory) {
        reasons.push_back({"vfio",
                           "a device of the host is passed through to it, which pins all its "
                           "memory: nothing that its guest gives up reaches the host",
                           true});
    }
    if (facts.locked_memory) {
        reasons.push_back({"locked",
                           "its memory is locked (memoryBacking): nothing that its guest gives up "
                           "reaches the host",
                           true});
    }
    if (facts.huge_pages && !circumstances.has_shim) {
        reasons.push_back(
            {"huge-pages",
             "its memory is in huge pages, which only acma_balloon in its guest, with "
             "acma-agent, gives up as a whole",
             true});
    }
    if (facts.paused) {
        reasons.push_back({"paused", "it is paused: nothing is taken until it goes on", false});
    }
    const bool young = facts.booted_at && circumstances.now - *facts.booted_at < k_boot_lasts;
    if (young && !circumstances.agent_answers) {
        reasons.push_back({"booting",
                           "it was started or reset less than " + human(k_boot_lasts) +
                               " ago and no agent answers yet: nothing is taken",
                           true});
    }
    return reasons;
}

}  // namespace acma::host
