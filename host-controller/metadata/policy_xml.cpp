// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metadata/policy_xml.h"

#include <algorithm>
#include <vector>

#include <pugixml.hpp>

#include "host-controller/metadata/policy_patch.h"
#include "host-controller/metadata/xml_names.h"

namespace acma::host {

namespace {
constexpr std::string_view k_acts = "acts";
// A policy element is about 150 bytes; libvirt itself has no bound on metadata. What other tools
// keep beside it may be as large as they like.
constexpr size_t k_max_element = 16 * 1024;
// An operator may nest metadata of other tools; ours is a direct child of <metadata>.
constexpr std::string_view k_acma_namespaces = "urn:acma:policy";

bool is_namespace_declaration(std::string_view name) {
    return name == "xmlns" || name.starts_with("xmlns:");
}

std::string shown(std::string_view text) {
    constexpr size_t k_shown = 64;
    return "'" + std::string(text.substr(0, k_shown)) + "'";
}

Result<PolicyPatch> read_attributes(const pugi::xml_node& element) {
    PolicyPatch patch;
    std::vector<std::string_view> seen;
    for (const pugi::xml_attribute& attribute : element.attributes()) {
        const std::string_view name = attribute.name();
        if (is_namespace_declaration(name)) {
            continue;
        }
        if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
            return Error{ErrorCode::invalid, "attribute " + shown(name) + " is given twice"};
        }
        seen.push_back(name);
        const Status set = set_field(patch, name, attribute.value());
        if (!set) {
            return Error{ErrorCode::invalid,
                         set.error().code == ErrorCode::not_found
                             ? "unknown attribute " + set.error().message
                             : "attribute " + std::string(name) + ": " + set.error().message};
        }
    }
    for (const pugi::xml_node& child : element.children()) {
        if (child.type() == pugi::node_element) {
            return Error{ErrorCode::invalid,
                         "element " + shown(child.name()) + " inside policy is not known"};
        }
        if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) {
            return Error{ErrorCode::invalid, "text " + shown(child.value()) +
                                                 " inside policy; its values are attributes"};
        }
    }
    return patch;
}

size_t size_as_text(const pugi::xml_node& element) {
    struct Counter : pugi::xml_writer {
        size_t bytes = 0;
        void write(const void* /*data*/, size_t size) override { bytes += size; }
    } counter;
    element.print(counter, "", pugi::format_raw);
    return counter.bytes;
}

Result<std::optional<Policy>> read_policy_element(const pugi::xml_node& element) {
    if (const size_t size = size_as_text(element); size > k_max_element) {
        return Error{ErrorCode::too_large, std::to_string(size) + " bytes of XML, more than " +
                                               std::to_string(k_max_element)};
    }
    const QName name = split(element.name());
    if (name.local != "policy") {
        return Error{ErrorCode::invalid, "element " + shown(element.name()) + " in namespace " +
                                             std::string(k_policy_namespace) + " is not 'policy'"};
    }
    const Result<PolicyPatch> patch = read_attributes(element);
    if (!patch) {
        return patch.error();
    }
    // The operator wrote it into the domain itself, so it is meant: no mode means auto.
    Result<Policy> policy = complete(*patch, Mode::automatic);
    if (!policy) {
        return policy.error();
    }
    return std::optional(*policy);
}

// Somebody meant our policy but named another namespace: better said than silently ignored.
bool looks_like_ours(const pugi::xml_node& node, std::string_view ns) {
    const QName name = split(node.name());
    return ns.starts_with(k_acma_namespaces) ||
           (name.local == "policy" && (name.prefix == "acma" || ns.find("acma") != ns.npos));
}

Result<std::optional<Policy>> read_policy_unlabelled(const pugi::xml_node& metadata) {
    std::optional<pugi::xml_node> ours;
    std::optional<pugi::xml_node> misplaced;
    for (const pugi::xml_node& node : metadata.children()) {
        if (node.type() != pugi::node_element) {
            continue;
        }
        const std::string_view ns = namespace_of(node, split(node.name()).prefix);
        if (ns == k_policy_namespace) {
            if (ours) {
                return Error{ErrorCode::invalid, "there are two policy elements"};
            }
            ours = node;
        } else if (looks_like_ours(node, ns)) {
            misplaced = node;
        }
    }
    if (ours) {
        return read_policy_element(*ours);
    }
    if (misplaced) {
        const std::string_view ns = namespace_of(*misplaced, split(misplaced->name()).prefix);
        return Error{ErrorCode::invalid, "element " + shown(misplaced->name()) +
                                             " is in namespace " + shown(ns) + ", not " +
                                             std::string(k_policy_namespace)};
    }
    return std::optional<Policy>();
}

std::vector<std::string_view> split_at(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        const size_t end = std::min(text.find(separator), text.size());
        if (end > 0) {
            parts.push_back(text.substr(0, end));
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

// "1GiB 2GiB"; what is no size is left out.
std::vector<Bytes> read_sizes(std::string_view text, char separator) {
    std::vector<Bytes> sizes;
    for (const std::string_view part : split_at(text, separator)) {
        if (const Result<Bytes> size = parse_size(part)) {
            sizes.push_back(*size);
        }
    }
    return sizes;
}

std::string write_sizes(const std::vector<Bytes>& sizes, char separator) {
    std::string text;
    for (const Bytes size : sizes) {
        text += (text.empty() ? std::string() : std::string(1, separator)) + format_size(size);
    }
    return text;
}

// "virtiomem0=1GiB,512MiB": what was requested before we came, and what is ours.
std::vector<plugging::Noted> read_devices(std::string_view text) {
    std::vector<plugging::Noted> devices;
    for (const std::string_view part : split_at(text, ' ')) {
        const size_t equals = std::min(part.find('='), part.size() - 1);
        const std::string_view sizes = part.substr(equals + 1);
        const size_t comma = std::min(sizes.find(','), sizes.size());
        const Result<Bytes> before = parse_size(sizes.substr(0, comma));
        const std::vector<Bytes> ours = read_sizes(sizes.substr(comma), ',');
        if (before && !ours.empty()) {
            devices.push_back({std::string(part.substr(0, equals)), *before, ours});
        }
    }
    return devices;
}

std::string write_devices(const std::vector<plugging::Noted>& devices) {
    std::string text;
    for (const plugging::Noted& device : devices) {
        text += (text.empty() ? "" : " ") + device.alias + "=" + format_size(device.before) + "," +
                write_sizes(device.ours, ',');
    }
    return text;
}
}  // namespace

Result<std::optional<Policy>> read_policy(const pugi::xml_node& metadata) {
    auto policy = read_policy_unlabelled(metadata);
    return policy ? policy : policy.error().in("policy metadata");
}

StateNote read_state_note(const pugi::xml_node& metadata) {
    for (const pugi::xml_node& node : metadata.children()) {
        const QName name = split(node.name());
        if (name.local == "state" && namespace_of(node, name.prefix) == k_state_namespace) {
            const Result<Bytes> target = parse_size(node.attribute("target").value());
            return {.target = target ? std::optional(*target) : std::nullopt,
                    .agent_acts = std::string_view(node.attribute("agent").value()) == k_acts,
                    .limits = read_sizes(node.attribute("limits").value(), ' '),
                    .devices = read_devices(node.attribute("devices").value())};
        }
    }
    return {};
}

std::string write_policy_xml(const Policy& policy) {
    return "<policy min-mem=\"" + format_size(policy.min_mem) + "\" max-mem=\"" +
           format_size(policy.max_mem) + "\" psi=\"" + format_psi(policy.psi) + "\" shares=\"" +
           std::to_string(policy.shares) + "\" mode=\"" + std::string(to_string(policy.mode)) +
           "\"/>";
}

std::string write_state_xml(const StateNote& note) {
    std::string xml = "<state";
    if (note.target) {
        xml += " target=\"" + format_size(*note.target) + "\"";
    }
    if (note.agent_acts) {
        xml += " agent=\"" + std::string(k_acts) + "\"";
    }
    if (!note.limits.empty()) {
        xml += " limits=\"" + write_sizes(note.limits, ' ') + "\"";
    }
    if (!note.devices.empty()) {
        xml += " devices=\"" + write_devices(note.devices) + "\"";
    }
    return xml + "/>";
}

}  // namespace acma::host
