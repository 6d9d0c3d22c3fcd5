// SPDX-License-Identifier: Apache-2.0
// One cycle as it was: all that the arbiter was told and what it said, so that it can be decided
// anew, by it or by somebody else (engine/simulation/replay.h).
#pragma once

#include <string>
#include <vector>

#include "engine/arbiter/arbiter.h"

namespace acma::arbiter {

struct Record {
    struct Vm {
        std::string name;
        std::string uuid;
        Guest guest;
        Grant grant;
        bool operator==(const Vm&) const = default;
    };
    Micros wall{0};   // since 1970-01-01 UTC
    Bytes memory;     // of the host
    Bytes available;  // of it, for a new program: others decide by that
    Host host;
    std::vector<Vm> vms;
    Bytes free;  // as in Decision
    Bytes lacking;
    Bytes missing;
    uint64_t dropped = 0;  // records before this one that could not be kept
    bool operator==(const Record&) const = default;
};

}  // namespace acma::arbiter
