// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/page_lists.h"

#include <filesystem>
#include <fstream>

#include "platform/file.h"

namespace acma::agent {

namespace {

// So large that the kernel's own minimum, four batches a CPU, is what is left.
constexpr const char* k_short_lists = "1000000";
// 0.875^48 of the longest list is less than that minimum.
constexpr int k_rounds = 48;

}  // namespace

void restore_page_lists(const PageListPaths& paths) {
    const auto before = platform::read_file(paths.note);
    if (before && platform::write_file(paths.fraction, *before)) {
        std::error_code err;
        std::filesystem::remove(paths.note, err);
    }
}

void drain_page_lists(const PageListPaths& paths) {
    const auto before = platform::read_file(paths.fraction);
    if (!before) {
        return;
    }
    // Noted before it is changed, so that whoever comes after a crash can put it back.
    std::error_code err;
    std::filesystem::create_directories(std::filesystem::path(paths.note).parent_path(), err);
    std::ofstream note(paths.note, std::ios::trunc);
    note << *before;
    note.close();
    if (note && platform::write_file(paths.fraction, k_short_lists)) {
        for (int round = 0; round < k_rounds; ++round) {
            (void)platform::write_file(paths.refresh, "1");
        }
    }
    restore_page_lists(paths);
}

}  // namespace acma::agent
