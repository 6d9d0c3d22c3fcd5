// SPDX-License-Identifier: Apache-2.0
// What a guest needs, by what is known of it. Pure.
#pragma once

#include <optional>

#include "engine/arbiter/arbiter.h"
#include "engine/base/units.h"
#include "engine/sizing/sizing.h"

namespace acma::arbiter {

// A word of a guest that is older than this is none: a calm agent tells a new sample every two
// seconds.
constexpr Micros k_word_lasts = Seconds(6);

// What its agent told. It is checked where it comes in; here it counts.
struct AgentWord {
    Bytes ram;        // that the host gave
    Bytes size;       // of it, what the shim has not taken and the balloon does not hold
    Bytes kernel;     // of it, what the kernel kept at boot: RAM less MemTotal
    Bytes voluntary;  // of what the shim took, what it may give back on its own
    Bytes mem_free;
    Bytes mem_available;
    Bytes working_set;  // 0: not known
    BasisPoints psi;    // of the last seconds
};
// `acceptable`: PSI, by its owner's word.
[[nodiscard]] Needs needs_of(const AgentWord& word, BasisPoints acceptable);

// Without an agent, by its balloon's statistics. None: they are not known, or old.
[[nodiscard]] std::optional<Needs> needs_of(const sizing::Decision& decision);

}  // namespace acma::arbiter
