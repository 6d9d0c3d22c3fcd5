// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/power_saver.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "platform/file.h"
#include "platform/memory_block.h"

namespace acma::agent {

namespace {

// What is owned goes offline within some 10 ms.
constexpr Millis k_patience = Millis(2'000);
constexpr Bytes k_window = k_block * scaling::k_window_blocks;

// Numbers of memory blocks. Complete at any moment, also where the machine stops.
Status write_record(const std::string& path, const std::set<uint64_t>& blocks) {
    std::error_code err;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), err);
    const std::string next = path + ".new";
    std::ofstream file(next, std::ios::trunc);
    for (const uint64_t block : blocks) {
        file << block << "\n";
    }
    file.close();
    if (!file) {
        return Error{ErrorCode::io, "cannot write " + next};
    }
    std::filesystem::rename(next, path, err);
    return err ? Status(error_from_errno(err.value(), "rename " + next)) : Status();
}

}  // namespace

Status bring_back(const PowerPaths& paths) {
    const auto noted = platform::read_file(paths.record);
    if (!noted) {
        return noted.error().code == ErrorCode::not_found ? Status() : Status(noted.error());
    }
    std::istringstream numbers(*noted);
    std::set<uint64_t> left;
    Status status;
    for (uint64_t block = 0; numbers >> block;) {
        if (Status online = platform::bring_online(paths.memory_blocks, block); !online) {
            left.insert(block);
            status = online;
        }
    }
    const Status written = write_record(paths.record, left);
    return status ? written : status;
}

Result<std::unique_ptr<PowerSaver>> PowerSaver::open(PowerPaths paths) {
    const auto size = platform::memory_block_size(paths.memory_blocks);
    if (!size) {
        return size.error();
    }
    if (*size < k_window || size->count() % k_window.count() != 0) {
        return Error{ErrorCode::unsupported, "memory blocks of " + human(*size)};
    }
    return std::unique_ptr<PowerSaver>(
        new PowerSaver(std::move(paths), size->count() / k_window.count()));
}

PowerSaver::~PowerSaver() {
    (void)bring_back(paths_);  // what fails here the next run tries again
}

Bytes PowerSaver::offline() const {
    const std::lock_guard lock(mutex_);
    return k_window * block_windows_ * offline_.size();
}

void PowerSaver::add_to(std::vector<scaling::Window>& windows) const {
    const std::lock_guard lock(mutex_);
    std::erase_if(windows, [this](const scaling::Window& window) {
        return offline_.contains(block_of(window.number));
    });
    for (const uint64_t block : offline_) {
        for (uint64_t i = 0; i < block_windows_; ++i) {
            windows.push_back({.number = block * block_windows_ + i,
                               .present = ~uint64_t{0},
                               .owned = ~uint64_t{0},
                               .offline = true});
        }
    }
    std::sort(windows.begin(), windows.end(),
              [](const auto& a, const auto& b) { return a.number < b.number; });
}

Status PowerSaver::note(uint64_t block) {
    const std::lock_guard lock(mutex_);
    offline_.insert(block);
    if (Status status = write_record(paths_.record, offline_); !status) {
        offline_.erase(block);
        return status;
    }
    return {};
}

Status PowerSaver::take(uint64_t block) {
    const Status status = platform::take_offline(paths_.memory_blocks, block, k_patience);
    if (!status) {
        (void)forget(block);
    }
    return status;
}

Status PowerSaver::give(uint64_t block) {
    {
        const std::lock_guard lock(mutex_);
        if (!offline_.contains(block)) {
            return {};
        }
    }
    if (Status status = platform::bring_online(paths_.memory_blocks, block); !status) {
        return status;
    }
    return forget(block);
}

Status PowerSaver::forget(uint64_t block) {
    const std::lock_guard lock(mutex_);
    offline_.erase(block);
    return write_record(paths_.record, offline_);
}

}  // namespace acma::agent
