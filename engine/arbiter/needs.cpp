// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/needs.h"

#include <algorithm>

namespace acma::arbiter {

namespace {
// What a guest keeps free by itself (engine/scaling, reserve()).
Bytes margin_of(Bytes ram) {
    return std::max(64_MiB, ram / 32);
}
}  // namespace

Needs needs_of(const AgentWord& word, BasisPoints acceptable) {
    const Bytes margin = margin_of(word.ram);
    const Bytes used = word.size - std::min(word.mem_free, word.size) + margin;
    // What it gives itself back needs no word of the host's.
    const bool helps_itself = word.voluntary > margin || word.mem_available > margin * 2;
    return {.active = word.working_set > Bytes(0)
                          ? std::min(used, word.working_set + word.kernel + margin)
                          : used,
            .used = used,
            .pressed = word.psi > acceptable && !helps_itself};
}

std::optional<Needs> needs_of(const sizing::Decision& decision) {
    if (!decision.used) {
        return std::nullopt;
    }
    return Needs{.active = *decision.used + decision.headroom,
                 .used = decision.held + decision.headroom,
                 .pressed = decision.pressed};
}

}  // namespace acma::arbiter
