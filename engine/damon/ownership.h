// SPDX-License-Identifier: Apache-2.0
// Whose DAMON is it? Decided before the first write, so that nobody's kdamonds are ever
// overwritten: nr_kdamonds can only be written as a whole, destroys every kdamond directory, and is
// refused while any kdamond runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/damon/tree.h"

namespace acma::damon {

// What of a kdamond stays the same while we run it: operations, regions and actions, not quotas or
// intervals. FNV-1a, stable over releases of ACMA as long as this list is.
[[nodiscard]] uint64_t shape(const Kdamond& kdamond);

// What we note when we switch a kdamond on. Kept where a reboot clears it (/run): pids are reused.
// A kdamond that is being written has any shape until that is done.
constexpr uint64_t k_any_shape = 0;
struct OwnedKdamond {
    size_t index = 0;
    uint64_t shape = k_any_shape;
    int pid = -1;  // of the kdamond; -1: noted before it was switched on

    bool operator==(const OwnedKdamond&) const = default;
};
struct OwnershipRecord {
    std::vector<OwnedKdamond> kdamonds;
    bool restore_damon_stat = false;

    bool operator==(const OwnershipRecord&) const = default;
};

// /sys/module/damon_*/parameters/enabled reads Y; false also where there is no such module.
struct DamonModules {
    bool stat = false;
    bool reclaim = false;
    bool lru_sort = false;

    bool operator==(const DamonModules&) const = default;
};

enum class Claim {
    none,  // nobody uses it: nr_kdamonds may be written
    ours,  // what we left behind, perhaps still running: adopt it, or switch it off and start anew
    foreign,  // somebody else's: hands off; `reason` says whose and how to free it
    busy,     // somebody is giving a command just now: look again later
};

struct Ownership {
    Claim claim = Claim::foreign;
    std::vector<size_t> ours;  // indices of our kdamonds; with `foreign`: a module is in our way
    // DAMON_STAT (on at boot in Debian since 6.17) excludes every other user with EBUSY: write N to
    // its `enabled` first, and Y again when we leave (also when an earlier run could not).
    bool clear_damon_stat = false;
    bool restore_damon_stat = false;
    std::string reason;

    bool operator==(const Ownership&) const = default;
};

// not_found: no DAMON sysfs interface in the tree.
[[nodiscard]] Result<Ownership> decide_ownership(const Tree& tree, const OwnershipRecord& record,
                                                 const DamonModules& modules);

}  // namespace acma::damon
