// SPDX-License-Identifier: Apache-2.0
// When nothing is taken from a VM whatever its policy says: what its guest gives up would not reach
// the host, or it is no time for that. Pure.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "host-controller/metadata/domain_xml.h"

namespace acma::host {

// A guest that has an agent has booted when that answers; another is given this long.
constexpr Micros k_boot_lasts{120'000'000};

struct Circumstances {
    bool has_shim = false;       // its agent works with our balloon driver
    bool agent_answers = false;  // since it booted
    Time now;
};

struct LeftAlone {
    std::string_view mark;  // a word of k_left_alone_marks
    std::string sentence;
    bool may_hold_all = false;  // whatever its balloon says, it may hold all its RAM
};

constexpr std::array<std::string_view, 5> k_left_alone_marks{"vfio", "locked", "huge-pages",
                                                             "paused", "booting"};

[[nodiscard]] std::vector<LeftAlone> reasons_to_leave_alone(const DomainFacts& facts,
                                                            const Circumstances& circumstances);

}  // namespace acma::host
