// SPDX-License-Identifier: Apache-2.0
// Numbers of things, for sentences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace acma {

// "1 rule", "2 rules".
[[nodiscard]] inline std::string counted(uint64_t count, std::string_view thing) {
    return std::to_string(count) + " " + std::string(thing) + (count == 1 ? "" : "s");
}

}  // namespace acma
