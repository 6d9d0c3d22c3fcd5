// SPDX-License-Identifier: Apache-2.0
// DRAM power saving on a machine without a balloon device: memory blocks of which all is taken go
// offline, so that nothing touches their DRAM and it can rest, and come online before the agent
// ends. A record in /run says which these are: what a killed agent left, the next one brings back.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/scaling/blocks.h"

namespace acma::agent {

struct PowerPaths {
    std::string memory_blocks;
    std::string record = "/run/acma-agent/offline";
};

// What an earlier run left offline comes online. Called before anything asks how much memory there
// is.
[[nodiscard]] Status bring_back(const PowerPaths& paths);

class PowerSaver {
  public:
    // unsupported: the machine's memory blocks are not made of windows.
    [[nodiscard]] static Result<std::unique_ptr<PowerSaver>> open(PowerPaths paths);
    ~PowerSaver();  // all of it comes online
    PowerSaver(const PowerSaver&) = delete;
    PowerSaver& operator=(const PowerSaver&) = delete;

    [[nodiscard]] Bytes offline() const;
    // Adds the windows that are offline, as owned ones: `windows` stays in order of number.
    void add_to(std::vector<scaling::Window>& windows) const;
    [[nodiscard]] uint64_t block_of(uint64_t window) const { return window / block_windows_; }
    [[nodiscard]] uint64_t block_windows() const { return block_windows_; }

    // In this order. From note() on it counts as offline, and give() knows of it; take() is the one
    // that takes its time, and forgets it where it does not go.
    [[nodiscard]] Status note(uint64_t block);
    [[nodiscard]] Status take(uint64_t block);
    // All of a memory block is free again. Nothing happens where it is not offline.
    [[nodiscard]] Status give(uint64_t block);

  private:
    PowerSaver(PowerPaths paths, uint64_t block_windows)
        : paths_(std::move(paths)), block_windows_(block_windows) {}
    [[nodiscard]] Status forget(uint64_t block);

    const PowerPaths paths_;
    const uint64_t block_windows_;
    mutable std::mutex mutex_;
    std::set<uint64_t> offline_;  // memory blocks
};

}  // namespace acma::agent
