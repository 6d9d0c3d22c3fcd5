// SPDX-License-Identifier: Apache-2.0
// How much of the host may each VM have? Pure: what is known of the host and its guests comes in, a
// grant for each with its reason goes out.
//
// The grant is what a guest takes back on its own, without asking (on the wire: the balloon
// target). So grants are promises, and all of them together have to exist: the sum of what the
// guests may hold, of QEMU's own memory and of what is reserved stays within the budget, and grows
// by nothing that somebody else has not given up yet.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "engine/arbiter/strain.h"
#include "engine/base/units.h"

namespace acma::arbiter {

struct Host {
    Bytes budget;    // for all VMs, QEMU's own memory included
    Bytes reserved;  // of it: for VMs that are about to start or to come here
    Strain strain = Strain::none;
    Bytes short_of;  // what should come back in an emergency
    bool operator==(const Host&) const = default;
};

// What a guest does with its memory, in the unit of its size.
struct Needs {
    Bytes active;          // it is slower without
    Bytes used;            // all that is not free, with what it keeps free by itself
    bool pressed = false;  // it stalls longer than its owner accepts
    bool operator==(const Needs&) const = default;
};

struct Guest {
    Bytes min;  // guaranteed
    Bytes max;  // never more
    uint64_t shares = 0;
    Bytes own;    // QEMU's own
    Bytes grant;  // in force
    Bytes holds;  // the most that it may hold now: where the balloon is, or all RAM
    // None: nothing is known, or not any more. It keeps what it has then.
    std::optional<Needs> needs;
    // Its balloon does not follow: it stands here, and nothing more is expected of it.
    std::optional<Bytes> stuck_at;
    bool fixed = false;  // must be left alone: it counts, and does not change
    bool operator==(const Guest&) const = default;
};

enum class Why {
    keeps,      // what it has is what it should have, or near it
    fixed,      // it is left alone
    needs,      // up to what it uses
    pressed,    // up, because it stalls
    spare,      // a part of what nobody needs
    waits,      // it should have more, which others have to give up first
    others,     // down: others need it more
    unused,     // down: it does not use it, and it is kept for whoever needs it
    strained,   // down to what it uses, since the host is short
    emergency,  // down to what it accesses, since the host stalls
    stuck,      // it was asked to go down and does not; it is asked for no more
};
[[nodiscard]] std::string_view to_string(Why why);

struct Grant {
    Bytes size;
    Bytes fair;  // what it should come to
    Why why = Why::keeps;
    bool operator==(const Grant&) const = default;
};

struct Decision {
    std::vector<Grant> grants;  // as the guests were given
    Bytes free;                 // of the budget, promised to nobody
    Bytes lacking;              // what is promised for good, or guaranteed, beyond the budget
    Bytes missing;              // what has to be given up before all that is reserved is there
};

// A part of what nobody needs is promised to nobody: it is there at once for whoever needs it.
constexpr uint64_t k_kept_free_part = 8;
// What a guest should have beyond what it uses before the rest is split.
constexpr uint64_t k_headroom_part = 8;
// What a guest that stalls may want beyond what it uses: as much again, at least this.
constexpr Bytes k_pressed_more = 256_MiB;
// A change smaller than this part of the grant, or than this, is not worth a write.
constexpr uint64_t k_still_part = 32;
constexpr Bytes k_still = 16_MiB;
// What a guest uses is taken from it in steps; what it does not use, at once.
constexpr uint64_t k_squeeze_part = 8;
constexpr Bytes k_squeeze_least = 64_MiB;

// One cycle. Equal inputs give equal outputs.
[[nodiscard]] Decision arbitrate(const Host& host, const std::vector<Guest>& guests);

}  // namespace acma::arbiter
