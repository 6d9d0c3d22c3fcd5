// SPDX-License-Identifier: Apache-2.0
// What other tools keep in a domain's metadata, for rules to match. Nova, for example:
//   <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
//     <nova:flavor name="m1.small">...
// is found in that namespace at "instance/flavor/@name".
#pragma once

#include <compare>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace pugi {
class xml_node;
}

namespace acma::host {

struct MetadataPath {
    std::string ns;    // of each element
    std::string path;  // elements, from a child of <metadata> on; perhaps an attribute of the last
    auto operator<=>(const MetadataPath&) const = default;
};
// Text of an element, or an attribute's value; several where several elements fit.
using ForeignMetadata = std::map<MetadataPath, std::vector<std::string>>;

// Others write there what they like: no more is looked at.
constexpr size_t k_max_metadata_values = 16;
constexpr size_t k_max_metadata_value = 256;

[[nodiscard]] Status check_metadata_path(std::string_view path);

// Paths without a value are left out, and so is a value that is too long.
[[nodiscard]] ForeignMetadata read_foreign_metadata(const pugi::xml_node& metadata,
                                                    const std::vector<MetadataPath>& paths);

}  // namespace acma::host
