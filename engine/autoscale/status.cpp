// SPDX-License-Identifier: Apache-2.0
#include "engine/autoscale/status.h"

#include <array>
#include <utility>

namespace acma {

namespace {
constexpr std::array<std::pair<AgentState, std::string_view>, 7> k_states{{
    {AgentState::starting, "starting"},
    {AgentState::ramping, "ramping"},
    {AgentState::settled, "settled"},
    {AgentState::holding, "holding"},
    {AgentState::observing, "observing"},
    {AgentState::off, "off"},
    {AgentState::degraded, "degraded"},
}};
constexpr std::array<std::pair<PolicySource, std::string_view>, 3> k_sources{{
    {PolicySource::none, "none"},
    {PolicySource::host, "host"},
    {PolicySource::config, "config"},
}};

template <typename Table, typename Value>
std::string_view name_of(const Table& table, Value wanted) {
    for (const auto& [value, name] : table) {
        if (value == wanted) {
            return name;
        }
    }
    return "unknown";
}
}  // namespace

std::string_view to_string(AgentState state) {
    return name_of(k_states, state);
}
std::string_view to_string(PolicySource source) {
    return name_of(k_sources, source);
}

}  // namespace acma
