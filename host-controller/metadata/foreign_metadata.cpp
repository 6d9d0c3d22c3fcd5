// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metadata/foreign_metadata.h"

#include <algorithm>

#include <pugixml.hpp>

#include "host-controller/metadata/xml_names.h"

namespace acma::host {

namespace {
// Deeper ones do not exist in the field.
constexpr size_t k_max_path = 256;

bool is_name(std::string_view name) {
    constexpr std::string_view k_first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    constexpr std::string_view k_more = "0123456789.-";
    return !name.empty() && k_first.find(name.front()) != std::string_view::npos &&
           std::all_of(name.begin(), name.end(), [&](char c) {
               return (std::string(k_first) + std::string(k_more)).find(c) != std::string::npos;
           });
}

// The first step of a path, and what follows.
std::pair<std::string_view, std::string_view> next_step(std::string_view path) {
    const size_t slash = path.find('/');
    return slash == std::string_view::npos
               ? std::pair(path, std::string_view())
               : std::pair(path.substr(0, slash), path.substr(slash + 1));
}

void take(std::string_view value, std::vector<std::string>& values) {
    if (values.size() < k_max_metadata_values && value.size() <= k_max_metadata_value) {
        values.emplace_back(value);
    }
}

void collect(const pugi::xml_node& parent, std::string_view ns, std::string_view path,
             std::vector<std::string>& values) {
    const auto [step, rest] = next_step(path);
    if (step.starts_with('@')) {
        if (const auto found = parent.attribute(std::string(step.substr(1)).c_str())) {
            take(found.value(), values);
        }
        return;
    }
    for (const pugi::xml_node& child : parent.children()) {
        const QName name = split(child.name());
        if (name.local != step || namespace_of(child, name.prefix) != ns) {
            continue;
        }
        if (rest.empty()) {
            take(child.child_value(), values);
        } else {
            collect(child, ns, rest, values);
        }
    }
}
}  // namespace

Status check_metadata_path(std::string_view path) {
    const Error wrong{ErrorCode::invalid, "'" + std::string(path.substr(0, 64)) +
                                              "' is not a path of elements such as "
                                              "\"instance/flavor/@name\""};
    if (path.empty() || path.size() > k_max_path || path.starts_with('@') || path.back() == '/') {
        return wrong;
    }
    while (!path.empty()) {
        const auto [step, rest] = next_step(path);
        const bool attribute = step.starts_with('@') && rest.empty();
        if (!is_name(attribute ? step.substr(1) : step)) {
            return wrong;
        }
        path = rest;
    }
    return {};
}

ForeignMetadata read_foreign_metadata(const pugi::xml_node& metadata,
                                      const std::vector<MetadataPath>& paths) {
    ForeignMetadata found;
    for (const MetadataPath& path : paths) {
        std::vector<std::string> values;
        collect(metadata, path.ns, path.path, values);
        if (!values.empty()) {
            found.emplace(path, std::move(values));
        }
    }
    return found;
}

}  // namespace acma::host
