// SPDX-License-Identifier: Apache-2.0
// acma-agent pool: runs a command with physically contiguous memory in its hands.
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::agent {

struct PoolOptions {
    Bytes size;
    int node = -1;                     // any
    std::vector<std::string> command;  // at least its name
};

// Where the command finds the number of the descriptor that it is to map (MAP_SHARED).
constexpr const char* k_pool_variable = "ACMA_POOL_FD";

// What a user writes: a size with its unit, of 2 MiB to 1 GiB, in whole blocks.
[[nodiscard]] Result<Bytes> parse_pool_size(const std::string& text);

// Becomes the command, or says why not. The memory is free again when the command, and whoever got
// the descriptor or a mapping from it, has ended.
[[nodiscard]] Error run_with_pool(const std::string& device, const PoolOptions& options);

}  // namespace acma::agent
