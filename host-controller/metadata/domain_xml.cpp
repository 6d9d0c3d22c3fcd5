// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metadata/domain_xml.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

#include <pugixml.hpp>

#include "host-controller/metadata/policy_xml.h"

namespace acma::host {

namespace {
struct XmlUnit {
    std::string_view name;
    uint64_t bytes;
};
// libvirt writes KiB; the others are what its documentation allows. KB, MB, GB are powers of ten.
constexpr std::array<XmlUnit, 12> k_units{{{"KiB", 1ULL << 10},
                                           {"k", 1ULL << 10},
                                           {"b", 1},
                                           {"bytes", 1},
                                           {"KB", 1000},
                                           {"MiB", 1ULL << 20},
                                           {"M", 1ULL << 20},
                                           {"MB", 1000ULL * 1000},
                                           {"GiB", 1ULL << 30},
                                           {"G", 1ULL << 30},
                                           {"GB", 1000ULL * 1000 * 1000},
                                           {"TiB", 1ULL << 40}}};

std::optional<Bytes> size_of(std::string_view number, std::string_view unit) {
    uint64_t count = 0;
    const auto [end, err] = std::from_chars(number.data(), number.data() + number.size(), count);
    if (err != std::errc{} || end != number.data() + number.size()) {
        return std::nullopt;
    }
    for (const XmlUnit& known : k_units) {
        if (known.name == (unit.empty() ? "KiB" : unit)) {
            return Bytes(count) * known.bytes;
        }
    }
    return std::nullopt;
}

std::optional<Bytes> element_size(const pugi::xml_node& node) {
    return size_of(node.child_value(), node.attribute("unit").value());
}

struct MemoryDevices {
    std::vector<plugging::Device>
        virtio_mem;  // sizes are part of <memory>, current of <currentMemory>
    Bytes dimms;
    std::vector<Bytes> blocks;  // each device is a RAM mapping of its own
};

MemoryDevices read_memory_devices(const pugi::xml_node& devices) {
    MemoryDevices found;
    for (const pugi::xml_node& device : devices.children("memory")) {
        const std::string_view model = device.attribute("model").value();
        const pugi::xml_node target = device.child("target");
        const Bytes size = element_size(target.child("size")).value_or(Bytes(0));
        if (model == "virtio-mem") {
            const auto other = [&target](const char* name) {
                return element_size(target.child(name)).value_or(Bytes(0));
            };
            found.virtio_mem.push_back({.alias = device.child("alias").attribute("name").value(),
                                        .size = size,
                                        .block = other("block"),
                                        .requested = other("requested"),
                                        .current = other("current"),
                                        .node = target.child("node").text().as_uint()});
            found.blocks.push_back(size);
        } else if (model == "dimm") {
            found.dimms += size;
            found.blocks.push_back(size);
        }
    }
    return found;
}

// One mapping per NUMA cell, or one for all boot memory.
std::vector<Bytes> boot_memory_blocks(const pugi::xml_node& domain, Bytes boot_memory) {
    std::vector<Bytes> blocks;
    for (const pugi::xml_node& cell : domain.child("cpu").child("numa").children("cell")) {
        const std::string_view memory = cell.attribute("memory").value();
        if (const auto size = size_of(memory, cell.attribute("unit").value())) {
            blocks.push_back(*size);
        }
    }
    if (blocks.empty()) {
        blocks.push_back(boot_memory);
    }
    return blocks;
}

std::optional<std::string> find_channel(const pugi::xml_node& devices,
                                        const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        for (const pugi::xml_node& channel : devices.children("channel")) {
            const pugi::xml_node target = channel.child("target");
            const std::string_view path = channel.child("source").attribute("path").value();
            if (name == target.attribute("name").value() && !path.empty()) {
                return std::string(path);
            }
        }
    }
    return std::nullopt;
}

void read_balloon(const pugi::xml_node& devices, DomainFacts& facts) {
    const pugi::xml_node balloon = devices.child("memballoon");
    const std::string_view model = balloon.attribute("model").value();
    facts.has_balloon = !model.empty() && model != "none";
    facts.balloon_deflates = std::string_view(balloon.attribute("autodeflate").value()) == "on";
    facts.statistics_period = Seconds(balloon.child("stats").attribute("period").as_uint());
}

// Devices that read and write the guest's memory without its page tables pin all of it. One of the
// SCSI or USB kind goes through QEMU.
bool pins_memory(const pugi::xml_node& devices) {
    for (const pugi::xml_node& device : devices.children("hostdev")) {
        const std::string_view type = device.attribute("type").value();
        if (type == "pci" || type == "mdev") {
            return true;
        }
    }
    for (const pugi::xml_node& interface : devices.children("interface")) {
        const std::string_view type = interface.attribute("type").value();
        if (type == "hostdev" || type == "vdpa") {
            return true;
        }
    }
    for (const pugi::xml_node& disk : devices.children("disk")) {
        if (std::string_view(disk.attribute("type").value()) == "vhostvdpa") {
            return true;
        }
    }
    return false;
}

std::optional<uint64_t> read_id(const pugi::xml_node& domain) {
    const std::string_view text = domain.attribute("id").value();
    uint64_t id = 0;
    const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), id);
    const bool whole = !text.empty() && err == std::errc{} && end == text.data() + text.size();
    return whole ? std::optional(id) : std::nullopt;
}

std::pair<size_t, size_t> line_and_column(std::string_view text, ptrdiff_t offset) {
    const std::string_view before =
        text.substr(0, std::min(text.size(), static_cast<size_t>(std::max<ptrdiff_t>(offset, 0))));
    const auto lines = static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
    const size_t last = before.rfind('\n');
    return {lines + 1, last == before.npos ? before.size() + 1 : before.size() - last};
}
}  // namespace

Result<DomainFacts> read_domain_xml(std::string_view live_xml,
                                    const std::vector<std::string>& channels,
                                    const std::vector<MetadataPath>& foreign) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(live_xml.data(), live_xml.size());
    if (!parsed) {
        const auto [line, column] = line_and_column(live_xml, parsed.offset);
        return Error{ErrorCode::invalid, "domain XML: line " + std::to_string(line) + ", column " +
                                             std::to_string(column) + ": " + parsed.description()};
    }
    const pugi::xml_node domain = document.child("domain");
    const std::optional<Bytes> memory = element_size(domain.child("memory"));
    DomainFacts facts;
    facts.vm.uuid = domain.child_value("uuid");
    facts.name = domain.child_value("name");
    if (facts.vm.uuid.empty() || facts.name.empty() || !memory) {
        return Error{ErrorCode::invalid, "domain XML: no uuid, name or memory"};
    }
    facts.id = read_id(domain);

    const pugi::xml_node devices = domain.child("devices");
    const MemoryDevices extra = read_memory_devices(devices);
    const plugging::Sums virtio_mem = plugging::sums_of(extra.virtio_mem);
    facts.ram = *memory - virtio_mem.size;
    facts.ram_blocks = boot_memory_blocks(domain, facts.ram - extra.dimms);
    facts.ram_blocks.insert(facts.ram_blocks.end(), extra.blocks.begin(), extra.blocks.end());
    facts.memory_devices = extra.virtio_mem;
    const std::optional<Bytes> current = element_size(domain.child("currentMemory"));
    facts.current = current ? *current - virtio_mem.current : facts.ram;
    facts.huge_pages = !domain.child("memoryBacking").child("hugepages").empty();
    facts.locked_memory = !domain.child("memoryBacking").child("locked").empty();
    facts.pins_memory = pins_memory(devices);
    facts.soft_limit = element_size(domain.child("memtune").child("soft_limit"));
    read_balloon(devices, facts);
    facts.channel = find_channel(devices, channels);

    facts.policy = read_policy(domain.child("metadata"));
    facts.note = read_state_note(domain.child("metadata"));
    facts.foreign = read_foreign_metadata(domain.child("metadata"), foreign);
    return facts;
}

Result<MemoryDeviceXml> memory_device_xml(std::string_view live_xml, std::string_view alias,
                                          Bytes requested) {
    pugi::xml_document document;
    if (!document.load_buffer(live_xml.data(), live_xml.size())) {
        return Error{ErrorCode::invalid, "domain XML cannot be read"};
    }
    for (pugi::xml_node device : document.child("domain").child("devices").children("memory")) {
        if (std::string_view(device.attribute("model").value()) != "virtio-mem" ||
            alias != device.child("alias").attribute("name").value()) {
            continue;
        }
        pugi::xml_node size = device.child("target").child("requested");
        MemoryDeviceXml found{.requested = element_size(size).value_or(Bytes(0)), .updated = {}};
        size.attribute("unit").set_value("KiB");
        size.text().set(std::to_string(to_kib_floor(requested).count()).c_str());
        std::ostringstream text;
        device.print(text, "", pugi::format_raw);
        found.updated = text.str();
        return found;
    }
    return Error{ErrorCode::not_found, "the domain has no virtio-mem device " + std::string(alias)};
}

std::optional<Bytes> read_start_target(std::string_view inactive_xml) {
    pugi::xml_document document;
    if (!document.load_buffer(inactive_xml.data(), inactive_xml.size())) {
        return std::nullopt;
    }
    const pugi::xml_node domain = document.child("domain");
    const std::optional<Bytes> current = element_size(domain.child("currentMemory"));
    if (!current) {
        return std::nullopt;
    }
    const MemoryDevices extra = read_memory_devices(domain.child("devices"));
    return *current - plugging::sums_of(extra.virtio_mem).current;
}

}  // namespace acma::host
