// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metadata/xml_names.h"

#include <string>

#include <pugixml.hpp>

namespace acma::host {

QName split(std::string_view name) {
    const size_t colon = name.find(':');
    if (colon == std::string_view::npos) {
        return {"", name};
    }
    return {name.substr(0, colon), name.substr(colon + 1)};
}

std::string_view namespace_of(pugi::xml_node node, std::string_view prefix) {
    const std::string declaration =
        prefix.empty() ? std::string("xmlns") : "xmlns:" + std::string(prefix);
    for (; node; node = node.parent()) {
        if (const pugi::xml_attribute found = node.attribute(declaration.c_str())) {
            return found.value();
        }
    }
    return {};
}

}  // namespace acma::host
