// SPDX-License-Identifier: Apache-2.0
#include "proto/schema.h"

#include <limits>
#include <variant>

#include "proto/lists.h"

namespace acma::proto {

namespace {
std::string bounds_text(const std::string& type, const Bounds& bounds) {
    const std::string most = std::to_string(bounds.most);
    if (bounds.most == std::numeric_limits<uint64_t>::max()) {
        return bounds.least == 0 ? "" : "at least " + std::to_string(bounds.least);
    }
    if (type == "string") {
        return "at most " + most + " bytes";
    }
    if (bounds.least == 0) {
        return "at most " + most;
    }
    return std::to_string(bounds.least) + " to " + most;
}

template <typename T>
ObjectInfo object() {
    ObjectInfo info{.title = std::string(FieldList<T>::k_title), .fields = {}};
    for (const auto& field : FieldList<T>::k_fields) {
        const std::string type = field.type();
        info.fields.push_back({.name = std::string(field.name),
                               .type = type,
                               .bounds = bounds_text(type, field.bounds),
                               .required = field.required});
    }
    return info;
}

template <typename... T>
std::vector<ObjectInfo> objects() {
    return {object<T>()...};
}

template <typename... C>
std::vector<CommandSchema> commands(const std::variant<C...>*) {
    return {CommandSchema{.name = std::string(C::k_name),
                          .arguments = object<C>(),
                          .returns = Codec<typename C::Returns>::type()}...};
}
}  // namespace

std::vector<CommandSchema> command_schemas() {
    return commands(static_cast<const Command*>(nullptr));
}

std::vector<ObjectInfo> wire_objects() {
    return objects<AgentInfo, CommandInfo, AcmaInfo, PolicyInForce, Policy, AgentStatus, Problem,
                   Failure>();
}

std::vector<ObjectInfo> api_objects() {
    return objects<VmList, HostSummary, VmSummary, Mark, VmDetail, VmAgent, VmStatistics,
                   Explanation, ExplainEntry, PolicyChange, UsageReport, UsageEntry, Reservation,
                   ReservationList, ReservationRequest, HistoryReport, HostPoint, VmHistory,
                   VmPoint, ApiError>();
}

}  // namespace acma::proto
