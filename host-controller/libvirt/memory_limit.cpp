// SPDX-License-Identifier: Apache-2.0
#include "host-controller/libvirt/memory_limit.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "host-controller/libvirt/handles.h"
#include "platform/file.h"

namespace acma::host {

namespace {
constexpr Kibibytes k_unlimited{VIR_DOMAIN_MEMORY_PARAM_UNLIMITED};

// A line of the file is "ID:CONTROLLER,CONTROLLER:PATH"; cgroup v2 has none in it.
bool has_memory_controller(std::string_view line) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) {
        return false;
    }
    const std::string list = "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    return list.find(",memory,") != list.npos;
}
}  // namespace

Status memory_limit_holds(const std::string& cgroups) {
    const Result<std::string> text = platform::read_file(cgroups);
    if (!text) {
        return text.error();
    }
    std::string_view rest = *text;
    while (!rest.empty()) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        if (has_memory_controller(rest.substr(0, end))) {
            return Error{ErrorCode::unsupported,
                         "this host has its memory controller in cgroup v1, which has no "
                         "memory.high; it takes cgroup v2 (systemd.unified_cgroup_hierarchy=1)"};
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return {};
}

Result<std::optional<Bytes>> memory_limit(virDomainPtr domain) {
    std::array<virTypedParameter, 8> parameters{};  // there are three
    int count = parameters.size();
    if (virDomainGetMemoryParameters(domain, parameters.data(), &count, VIR_DOMAIN_AFFECT_LIVE) !=
        0) {
        return last_libvirt_error("reading the limits of its cgroup");
    }
    unsigned long long kib = k_unlimited.count();
    if (virTypedParamsGetULLong(parameters.data(), count, VIR_DOMAIN_MEMORY_SOFT_LIMIT, &kib) < 0) {
        return last_libvirt_error("reading the limits of its cgroup");
    }
    const Kibibytes limit(kib);
    return limit < k_unlimited ? std::optional(to_bytes(limit)) : std::nullopt;
}

Status set_memory_limit(virDomainPtr domain, std::optional<Bytes> limit) {
    virTypedParameter parameter{};
    std::strncpy(parameter.field, VIR_DOMAIN_MEMORY_SOFT_LIMIT, sizeof parameter.field - 1);
    parameter.type = VIR_TYPED_PARAM_ULLONG;
    parameter.value.ul =
        limit ? std::min(to_kib_floor(*limit), k_unlimited).count() : k_unlimited.count();
    if (virDomainSetMemoryParameters(domain, &parameter, 1, VIR_DOMAIN_AFFECT_LIVE) != 0) {
        return last_libvirt_error("setting memory.high of its cgroup");
    }
    return {};
}

}  // namespace acma::host
