// SPDX-License-Identifier: Apache-2.0
// The policy element of a libvirt domain's metadata:
//   <acma:policy xmlns:acma="urn:acma:policy:1" min-mem="512MiB" max-mem="4GiB" psi="0.1%"
//                shares="1000" mode="auto"/>
// The prefix is the writer's choice, the namespace is not. Everything unknown is an error, so that
// a typing mistake never silently becomes a default.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/plugging/plug_watch.h"
#include "engine/policy/policy.h"

namespace pugi {
class xml_node;
}

namespace acma::host {

constexpr std::string_view k_policy_namespace = "urn:acma:policy:1";
constexpr std::string_view k_state_namespace = "urn:acma:state:1";
// The prefix under which we ask libvirt to store them.
constexpr const char* k_policy_prefix = "acma";
constexpr const char* k_state_prefix = "acma-state";

// What the controller notes for itself in the live XML, so that it knows it again after a restart.
struct StateNote {
    // The balloon target that it wrote last: tells its own target from somebody else's.
    std::optional<Bytes> target;
    // The guest's agent was told to act and not yet to stop: a policy that is withdrawn while the
    // controller is down is withdrawn in the guest too.
    bool agent_acts = false;
    // Limits of its cgroup that are ours: the one in force, and the one that takes its place.
    std::vector<Bytes> limits = {};
    std::vector<plugging::Noted> devices = {};  // virtio-mem whose requested size we have written
    bool operator==(const StateNote&) const = default;
};

// What a <metadata> element says. No policy at all is not an error;
// one that cannot be used is: malformed, contradictory, or in another namespace.
[[nodiscard]] Result<std::optional<Policy>> read_policy(const pugi::xml_node& metadata);

// Written by write_state_xml; empty when absent or unreadable (it is only a note).
[[nodiscard]] StateNote read_state_note(const pugi::xml_node& metadata);

// The element as virDomainSetMetadata wants it: without prefix and namespace, libvirt adds both.
[[nodiscard]] std::string write_policy_xml(const Policy& policy);
[[nodiscard]] std::string write_state_xml(const StateNote& note);

}  // namespace acma::host
