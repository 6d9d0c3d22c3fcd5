// SPDX-License-Identifier: Apache-2.0
// UUIDs of domains as operators write them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace acma::host {

// As libvirt writes it, in lower case with dashes; nothing: it is none. Like virsh it takes
// capitals, and dashes anywhere or nowhere.
[[nodiscard]] std::optional<std::string> read_uuid(std::string_view text);

}  // namespace acma::host
