// SPDX-License-Identifier: Apache-2.0
#include "proto/document.h"

#include <array>
#include <utility>

#include "proto/json.h"
#include "proto/lists.h"
#include "proto/status_json.h"

namespace acma::proto {

namespace {
// The peer is our own controller or agent, behind a socket that only root opens: the bounds guard
// against mistakes. 16,384 VMs (k_max_vms) at about 1 KiB and 45 values each, or 50,000 of which
// the usage is told.
constexpr JsonLimits k_document_limits{size_t{32} * 1024 * 1024, 16, 1'000'000};

constexpr std::array<std::pair<VmState, std::string_view>, 5> k_vm_states{{
    {VmState::managed, "managed"},
    {VmState::observed, "observed"},
    {VmState::off, "off"},
    {VmState::unmanaged, "unmanaged"},
    {VmState::marked, "marked"},
}};

template <typename Document>
Result<Document> read(std::string_view text, Reading reading) {
    const auto json = parse_json(text, k_document_limits);
    if (!json) {
        return json.error();
    }
    Document document;
    if (const Check fault = decode_fields(*json, reading, document)) {
        return fault->error();
    }
    return document;
}
}  // namespace

std::string_view to_string(VmState state) {
    for (const auto& [value, name] : k_vm_states) {
        if (value == state) {
            return name;
        }
    }
    return "unknown";
}

std::optional<VmState> parse_vm_state(std::string_view text) {
    for (const auto& [value, name] : k_vm_states) {
        if (name == text) {
            return value;
        }
    }
    return std::nullopt;
}

template <typename Document>
std::string to_json(const Document& document, Layout layout) {
    JsonWriter writer(layout);
    encode_fields(document, writer);
    return writer.take();
}

template <typename Document>
Result<Document> from_json(std::string_view text) {
    return read<Document>(text, Reading::reply);
}

template <typename Document>
Result<Document> from_json_strict(std::string_view text) {
    return read<Document>(text, Reading::request);
}

#define ACMA_DOCUMENT(T)                               \
    template std::string to_json<T>(const T&, Layout); \
    template Result<T> from_json<T>(std::string_view); \
    template Result<T> from_json_strict<T>(std::string_view);
ACMA_DOCUMENT(AgentStatus)
ACMA_DOCUMENT(VmList)
ACMA_DOCUMENT(VmDetail)
ACMA_DOCUMENT(Explanation)
ACMA_DOCUMENT(HostSummary)
ACMA_DOCUMENT(PolicyChange)
ACMA_DOCUMENT(ReservationList)
ACMA_DOCUMENT(ReservationRequest)
ACMA_DOCUMENT(UsageReport)
ACMA_DOCUMENT(HistoryReport)
ACMA_DOCUMENT(ApiError)
#undef ACMA_DOCUMENT

}  // namespace acma::proto
