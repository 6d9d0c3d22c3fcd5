// SPDX-License-Identifier: Apache-2.0
// The field lists as data: what docs/protocol.md is checked against.
#pragma once

#include <string>
#include <vector>

namespace acma::proto {

struct FieldInfo {
    std::string name;
    std::string type;    // "integer", "string", "one of auto, observe, off", "object: policy", ...
    std::string bounds;  // "1 to 10000", "at most 64 bytes", "at most 16"; empty if none
    bool required = true;
    bool operator==(const FieldInfo&) const = default;
};

struct ObjectInfo {
    std::string title;
    std::vector<FieldInfo> fields;
    bool operator==(const ObjectInfo&) const = default;
};

struct CommandSchema {
    std::string name;
    ObjectInfo arguments;
    std::string returns;  // a type, as in FieldInfo
    bool operator==(const CommandSchema&) const = default;
};

// The commands in the order of guest-info.
[[nodiscard]] std::vector<CommandSchema> command_schemas();
// Every object of the wire (without arguments) and of the controller's API, outermost first.
[[nodiscard]] std::vector<ObjectInfo> wire_objects();
[[nodiscard]] std::vector<ObjectInfo> api_objects();

}  // namespace acma::proto
