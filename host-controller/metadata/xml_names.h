// SPDX-License-Identifier: Apache-2.0
// Names with namespaces, which pugixml does not resolve.
#pragma once

#include <string_view>

namespace pugi {
class xml_node;
}

namespace acma::host {

struct QName {
    std::string_view prefix;
    std::string_view local;
};
[[nodiscard]] QName split(std::string_view name);

// What the nearest declaration says of the prefix; empty: nothing does.
[[nodiscard]] std::string_view namespace_of(pugi::xml_node node, std::string_view prefix);

}  // namespace acma::host
