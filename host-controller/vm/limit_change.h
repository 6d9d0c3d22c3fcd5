// SPDX-License-Identifier: Apache-2.0
// A new limit for the memory of a domain's cgroup, memory.high of cgroup v2.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "host-controller/metadata/policy_xml.h"

namespace acma::host {

struct LimitChange {
    // The limit now in force has to be one of ours; any other is somebody else's and stays.
    std::vector<Bytes> ours;
    bool or_none = false;        // or there is none
    std::optional<Bytes> limit;  // nothing: lifted
    StateNote note;      // written before the limit: ours is known again, whatever ends meanwhile
    std::string reason;  // a sentence
    bool operator==(const LimitChange&) const = default;
};

[[nodiscard]] inline bool is_ours(const LimitChange& change, std::optional<Bytes> limit) {
    return limit ? std::count(change.ours.begin(), change.ours.end(), *limit) > 0 : change.or_none;
}

using LimitDone = std::function<void(const Result<std::optional<Bytes>>&)>;

}  // namespace acma::host
