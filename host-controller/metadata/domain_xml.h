// SPDX-License-Identifier: Apache-2.0
// What the controller needs to know of a domain, read from its live XML. Pure: the libvirt folder
// fetches the text.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/plugging/plugging.h"
#include "engine/policy/policy.h"
#include "host-controller/metadata/foreign_metadata.h"
#include "host-controller/metadata/policy_xml.h"

namespace acma::host {

// libvirt's UUID of the domain, the only name that never changes while it exists.
struct VmId {
    std::string uuid;
    auto operator<=>(const VmId&) const = default;
};

struct DomainFacts {
    VmId vm;
    std::string name;
    std::optional<uint64_t> id;  // only while it runs
    bool persistent = false;

    Bytes ram;                      // that the balloon works on: <memory> without virtio-mem
    std::vector<Bytes> ram_blocks;  // sizes of QEMU's RAM mappings
    // virtio-mem; what is plugged is part of libvirt's "current"
    std::vector<plugging::Device> memory_devices;
    Bytes current;                    // RAM - what the balloon holds, now
    bool huge_pages = false;          // its RAM is in a pool of huge pages (hugetlb)
    bool pins_memory = false;         // for a device of the host (VFIO, vDPA)
    bool locked_memory = false;       // <memoryBacking><locked/>
    std::optional<Bytes> soft_limit;  // <memtune>: of its cgroup, whoever set it
    // Not in the XML; libvirt says them:
    bool paused = false;
    std::optional<Time> booted_at;  // started, or reset, while we looked

    bool has_balloon = false;
    bool balloon_deflates = false;  // autodeflate: when the guest would else kill a process
    Seconds statistics_period{0};   // how often its driver tells statistics; 0: never
    // The host's unix socket of the first of the channel names asked for.
    std::optional<std::string> channel;

    Result<std::optional<Policy>> policy{std::optional<Policy>()};
    StateNote note;           // our own
    ForeignMetadata foreign;  // of what was asked for
    // <currentMemory> of the persistent XML: the target that libvirt itself gave at start.
    std::optional<Bytes> start_target;
};

// Channel names in order of preference. An error names the element that is missing or malformed.
[[nodiscard]] Result<DomainFacts> read_domain_xml(std::string_view live_xml,
                                                  const std::vector<std::string>& channels,
                                                  const std::vector<MetadataPath>& foreign = {});

// The virtio-mem device of this alias as virDomainUpdateDeviceFlags wants it, with another
// requested size; and the one that it has. Error{not_found}: there is none.
struct MemoryDeviceXml {
    Bytes requested;
    std::string updated;
};
[[nodiscard]] Result<MemoryDeviceXml> memory_device_xml(std::string_view live_xml,
                                                        std::string_view alias, Bytes requested);

// <currentMemory> of an inactive XML, without what virtio-mem has.
[[nodiscard]] std::optional<Bytes> read_start_target(std::string_view inactive_xml);

}  // namespace acma::host
