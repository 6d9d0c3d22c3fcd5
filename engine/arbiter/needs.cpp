// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/needs.h"

#include <algorithm>

namespace acma::arbiter {

namespace {
// What a guest keeps free by itself (engine/scaling, reserve()).
Bytes margin_of(Bytes ram) {
    return std::max(64_MiB, ram / 32);
}

Bytes used_of(Bytes size, Bytes unused, Bytes ram) {
    return size - std::min(unused, size) + margin_of(ram);
}
}  // namespace

Needs needs_of(const AgentWord& word, BasisPoints acceptable) {
    const Bytes margin = margin_of(word.ram);
    const Bytes used = used_of(word.size, word.mem_free, word.ram);
    // What it gives itself back needs no word of the host's.
    const bool helps_itself = word.voluntary > margin || word.mem_available > margin * 2;
    return {.active = word.working_set > Bytes(0)
                          ? std::min(used, word.working_set + word.kernel + margin)
                          : used,
            .used = used,
            .pressed = word.psi > acceptable && !helps_itself};
}

Needs needs_of(Bytes ram, Bytes size, Bytes unused) {
    const Bytes used = used_of(size, unused, ram);
    return {.active = used, .used = used};
}

}  // namespace acma::arbiter
