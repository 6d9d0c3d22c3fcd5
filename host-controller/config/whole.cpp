// SPDX-License-Identifier: Apache-2.0
#include "host-controller/config/whole.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace acma::host {

namespace {
// Of "qemu+ssh://root@node7:22/system" node7; "" where there is none.
std::string_view host_of(std::string_view uri) {
    uri = uri.substr(0, uri.find_first_of("?#"));
    const size_t begin = uri.find("://");
    if (begin == std::string_view::npos) {
        return {};
    }
    std::string_view authority = uri.substr(begin + 3);
    authority = authority.substr(0, authority.find('/'));
    authority.remove_prefix(authority.rfind('@') + 1);  // npos + 1 is 0
    if (authority.starts_with('[')) {
        return authority.substr(0, authority.find(']') + 1);
    }
    return authority.substr(0, authority.find(':'));
}

Status check_connect(const std::string& uri) {
    constexpr std::array<std::string_view, 4> k_here{"", "localhost", "127.0.0.1", "[::1]"};
    const std::string_view host = host_of(uri);
    if (std::find(k_here.begin(), k_here.end(), host) == k_here.end()) {
        return Error{ErrorCode::invalid,
                     "connect: '" + uri + "' is the libvirt of " + std::string(host) +
                         "; acma-controller manages the VMs of the host that it runs on, such as "
                         "qemu:///system"};
    }
    return {};
}

// The same file has the same name, whatever links and dots lead to it.
std::string one_name(const std::string& path) {
    std::error_code failed;
    const auto name = std::filesystem::weakly_canonical(path, failed);
    return failed ? std::filesystem::path(path).lexically_normal().string() : name.string();
}

// Each writes its own files over whatever is there.
Status check_files(const ControllerConfig& config) {
    if (config.decision_log.empty()) {
        return {};
    }
    for (const char* rotated : {"", ".1"}) {
        for (const char* of_sqlite : {"", "-wal", "-shm", "-journal"}) {
            const std::string file = config.usage_database + of_sqlite;
            if (one_name(config.decision_log + rotated) == one_name(file)) {
                return Error{ErrorCode::invalid, "decision-log " + config.decision_log +
                                                     " would write over " + file +
                                                     ", a file of usage-database"};
            }
        }
    }
    return {};
}

Status check_host_reserve(const ControllerConfig& config, std::optional<Bytes> mem_total) {
    if (config.host_reserve && mem_total && *config.host_reserve >= *mem_total) {
        return Error{ErrorCode::invalid, "host-reserve " + human(*config.host_reserve) +
                                             " leaves nothing for VMs: this host has " +
                                             human(*mem_total) + " (MemTotal)"};
    }
    return {};
}
}  // namespace

Status check_whole(const ControllerConfig& config, std::optional<Bytes> mem_total) {
    for (const Status& part : {check_connect(config.connect), check_files(config),
                               check_host_reserve(config, mem_total)}) {
        if (!part) {
            return part;
        }
    }
    return {};
}

}  // namespace acma::host
