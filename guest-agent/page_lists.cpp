// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/page_lists.h"

#include <filesystem>
#include <fstream>
#include <utility>

#include "platform/file.h"

namespace acma::agent {

namespace {

// So large that the kernel's own minimum, four batches a CPU, is what is left.
constexpr const char* k_short_lists = "1000000";
// Three rounds of vmstat's worker (vm.stat_interval, 1 s).
constexpr Micros k_drain = Seconds(3);

}  // namespace

PageLists::PageLists(PageListPaths paths) : paths_(std::move(paths)) {
    if (const auto left = platform::read_file(paths_.note)) {
        before_ = *left;
        restore();
    }
}

PageLists::~PageLists() {
    end_drain_now();
}

void PageLists::begin_drain(Time now) {
    const std::lock_guard lock(mutex_);
    const auto value =
        before_ ? Result<std::string>(*before_) : platform::read_file(paths_.fraction);
    if (before_ || !value) {
        return;
    }
    // Noted before it is changed, so that whoever comes after a crash can put it back.
    std::error_code err;
    std::filesystem::create_directories(std::filesystem::path(paths_.note).parent_path(), err);
    std::ofstream note(paths_.note, std::ios::trunc);
    note << *value;
    note.close();
    if (!note || !platform::write_file(paths_.fraction, k_short_lists)) {
        std::filesystem::remove(paths_.note, err);
        return;
    }
    before_ = *value;
    began_ = now;
}

void PageLists::end_drain(Time now) {
    const std::lock_guard lock(mutex_);
    if (before_ && now - began_ >= k_drain) {
        restore();
    }
}

void PageLists::end_drain_now() {
    const std::lock_guard lock(mutex_);
    if (before_) {
        restore();
    }
}

void PageLists::restore() {
    if (!platform::write_file(paths_.fraction, *before_)) {
        return;  // tried again at the next call, and by whoever comes after
    }
    before_.reset();
    std::error_code err;
    std::filesystem::remove(paths_.note, err);
}

}  // namespace acma::agent
