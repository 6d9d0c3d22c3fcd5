// SPDX-License-Identifier: Apache-2.0
// The field list of every struct that travels as JSON. Private to proto.
//
// Rules: a field never changes its meaning, type or unit. A field added to a reply or a document is
// an optional_field, since older peers do not send it. A field added to a request needs a new
// capability, since older agents refuse it.
#pragma once

#include <array>

#include "engine/autoscale/status.h"
#include "engine/policy/policy.h"
#include "proto/controller_api.h"
#include "proto/fields.h"
#include "proto/history_api.h"
#include "proto/messages.h"

namespace acma::proto {

// Bounds of text and lists; whoever writes cuts, whoever reads refuses.
constexpr uint64_t k_max_word = 64;       // stable words, versions, names of commands and numbers
constexpr uint64_t k_max_name = 256;      // a domain's name: libvirt's must fit a file name (255)
constexpr uint64_t k_max_sentence = 512;  // reasons and messages: a few lines of a terminal
constexpr uint64_t k_max_problems = 16;   // more than the kinds of problems an agent knows
constexpr uint64_t k_max_capabilities = 32;
constexpr uint64_t k_max_commands = 256;          // qemu-ga 10.0 has 44
constexpr uint64_t k_max_numbers = 32;            // of one decision
constexpr uint64_t k_max_entries = 4096;          // explain keeps fewer a VM
constexpr uint64_t k_max_vms = 16'384;            // more than any host runs
constexpr uint64_t k_max_usage_entries = 50'000;  // VMs that ran in a period

constexpr uint64_t k_max_points = 1024;   // of a chart; fewer are kept
constexpr uint64_t k_max_histories = 64;  // in one answer

constexpr Bounds bytes_to(uint64_t most) {
    return {.most = most};
}
constexpr Bounds list_of(uint64_t count, uint64_t element = k_max_word) {
    return {.most = count, .element_most = element};
}

template <>
struct Words<Mode> {
    static constexpr std::array k_all{Mode::automatic, Mode::observe, Mode::off};
    static constexpr Mode k_newer = Mode::observe;
};
template <>
struct Words<AgentState> {
    static constexpr std::array k_all{
        AgentState::starting,  AgentState::ramping, AgentState::settled, AgentState::holding,
        AgentState::observing, AgentState::off,     AgentState::degraded};
    static constexpr AgentState k_newer = AgentState::degraded;
};
template <>
struct Words<PolicySource> {
    static constexpr std::array k_all{PolicySource::none, PolicySource::host, PolicySource::config};
    static constexpr PolicySource k_newer = PolicySource::none;
};
template <>
struct Words<VmState> {
    static constexpr std::array k_all{VmState::managed, VmState::observed, VmState::off,
                                      VmState::unmanaged, VmState::marked};
    static constexpr VmState k_newer = VmState::marked;
};

// --- the wire -------------------------------------------------------------------------------

constexpr Bounds k_psi_bounds{.least = 1, .most = k_full_bp.count()};
constexpr Bounds k_shares_bounds{.least = 1, .most = k_max_shares};

// Inside a reply: what is in force, which is all zeros before the first policy.
template <>
struct FieldList<Policy> {
    static constexpr std::string_view k_title = "policy";
    static constexpr std::array k_fields{
        field<&Policy::min_mem>("min_mem_bytes"),
        field<&Policy::max_mem>("max_mem_bytes"),
        field<&Policy::psi>("psi_bp", k_psi_bounds),
        field<&Policy::shares>("shares", k_shares_bounds),
        field<&Policy::mode>("mode"),
    };
};

template <>
struct FieldList<SetPolicy> {
    static constexpr std::string_view k_title = "acma-set-policy arguments";
    static constexpr std::array k_fields{
        field<&SetPolicy::policy, &Policy::min_mem>("min_mem_bytes",
                                                    {.least = k_least_min_mem.count()}),
        field<&SetPolicy::policy, &Policy::max_mem>("max_mem_bytes",
                                                    {.least = k_least_min_mem.count()}),
        field<&SetPolicy::policy, &Policy::psi>("psi_bp", k_psi_bounds),
        optional_field<&SetPolicy::policy, &Policy::shares>("shares", k_shares_bounds),
        field<&SetPolicy::policy, &Policy::mode>("mode"),
        field<&SetPolicy::grant>("grant_bytes"),
        field<&SetPolicy::generation>("generation"),
    };
};

template <>
struct FieldList<PolicyInForce> {
    static constexpr std::string_view k_title = "policy in force";
    static constexpr std::array k_fields{
        field<&PolicyInForce::generation>("generation"),
        field<&PolicyInForce::policy>("policy"),
        field<&PolicyInForce::grant>("grant_bytes"),
    };
};

// A sync returns the bare number.
template <>
struct Codec<Synced> {
    static std::string type() { return Codec<int64_t>::type(); }
    static void encode(const Synced& from, const Bounds&, JsonWriter& to) { to.number(from.id); }
    static Check decode(const Json::Value& value, const Bounds&, Reading, Synced& to) {
        return decode_i64(value, to.id);
    }
    static bool read(PlainReader&, const Bounds&, Synced&) { return false; }
};

template <>
struct FieldList<SyncDelimited> {
    static constexpr std::string_view k_title = "guest-sync-delimited arguments";
    static constexpr std::array k_fields{field<&SyncDelimited::id>("id")};
};
template <>
struct FieldList<Sync> {
    static constexpr std::string_view k_title = "guest-sync arguments";
    static constexpr std::array k_fields{field<&Sync::id>("id")};
};
template <>
struct FieldList<Ping> {
    static constexpr std::string_view k_title = "guest-ping arguments";
    static constexpr std::array<Field<Ping>, 0> k_fields{};
};
template <>
struct FieldList<Info> {
    static constexpr std::string_view k_title = "guest-info arguments";
    static constexpr std::array<Field<Info>, 0> k_fields{};
};
template <>
struct FieldList<GetStatus> {
    static constexpr std::string_view k_title = "acma-get-status arguments";
    static constexpr std::array<Field<GetStatus>, 0> k_fields{};
};
template <>
struct FieldList<SetLimits> {
    static constexpr std::string_view k_title = "acma-set-limits arguments";
    static constexpr std::array k_fields{
        field<&SetLimits::swap_out_per_s>("swap_out_bytes_per_s", {.least = (1_MiB).count()})};
};
template <>
struct FieldList<EnableEvents> {
    static constexpr std::string_view k_title = "acma-enable-events arguments";
    static constexpr std::array<Field<EnableEvents>, 0> k_fields{};
};
template <>
struct FieldList<Empty> {
    static constexpr std::string_view k_title = "empty";
    static constexpr std::array<Field<Empty>, 0> k_fields{};
};

template <>
struct FieldList<CommandInfo> {
    static constexpr std::string_view k_title = "command";
    static constexpr std::array k_fields{
        field<&CommandInfo::name>("name", bytes_to(k_max_word)),
        field<&CommandInfo::enabled>("enabled"),
        field<&CommandInfo::success_response>("success-response"),
    };
};
template <>
struct FieldList<AcmaInfo> {
    static constexpr std::string_view k_title = "acma";
    static constexpr std::array k_fields{
        field<&AcmaInfo::protocol>("protocol"),
        field<&AcmaInfo::capabilities>("capabilities", list_of(k_max_capabilities)),
    };
};
template <>
struct FieldList<AgentInfo> {
    static constexpr std::string_view k_title = "info";
    static constexpr std::array k_fields{
        field<&AgentInfo::version>("version", bytes_to(k_max_word)),
        field<&AgentInfo::supported_commands>("supported_commands", list_of(k_max_commands)),
        field<&AgentInfo::acma>("acma"),
    };
};
template <>
struct FieldList<Failure> {
    static constexpr std::string_view k_title = "error";
    static constexpr std::array k_fields{
        field<&Failure::error_class>("class", bytes_to(k_max_word)),
        field<&Failure::desc>("desc", bytes_to(k_max_sentence)),
    };
};

template <>
struct FieldList<Problem> {
    static constexpr std::string_view k_title = "problem";
    static constexpr std::array k_fields{
        field<&Problem::what>("what", bytes_to(k_max_word)),
        field<&Problem::message>("message", bytes_to(k_max_sentence)),
    };
};

template <>
struct FieldList<AgentStatus> {
    static constexpr std::string_view k_title = "status";
    static constexpr std::array k_fields{
        field<&AgentStatus::agent_version>("agent_version", bytes_to(k_max_word)),
        field<&AgentStatus::sequence>("sequence"),
        field<&AgentStatus::uptime>("uptime_us"),
        field<&AgentStatus::state>("state"),
        field<&AgentStatus::reason>("reason", bytes_to(k_max_sentence)),
        field<&AgentStatus::policy>("policy"),
        field<&AgentStatus::policy_source>("policy_source"),
        field<&AgentStatus::policy_generation>("policy_generation"),
        field<&AgentStatus::mem_total>("mem_total_bytes"),
        field<&AgentStatus::mem_free>("mem_free_bytes"),
        field<&AgentStatus::mem_available>("mem_available_bytes"),
        field<&AgentStatus::swap_total>("swap_total_bytes"),
        field<&AgentStatus::swap_free>("swap_free_bytes"),
        field<&AgentStatus::swap_in_total>("swap_in_total_bytes"),
        field<&AgentStatus::swap_out_total>("swap_out_total_bytes"),
        field<&AgentStatus::refault_total>("refault_total_bytes"),
        field<&AgentStatus::oom_kills_total>("oom_kills_total"),
        field<&AgentStatus::psi_some_total>("psi_some_total_us"),
        field<&AgentStatus::psi>("psi_bp", {.most = k_full_bp.count()}),
        field<&AgentStatus::quota_per_s>("quota_bytes_per_s"),
        field<&AgentStatus::reclaimed_total>("reclaimed_total_bytes"),
        field<&AgentStatus::working_set>("working_set_bytes"),
        field<&AgentStatus::owned>("owned_bytes"),
        optional_field<&AgentStatus::voluntary>("voluntary_bytes"),
        optional_field<&AgentStatus::taken_total>("taken_total_bytes"),
        optional_field<&AgentStatus::returned_total>("returned_total_bytes"),
        optional_field<&AgentStatus::scaling>("scaling", bytes_to(k_max_sentence)),
        optional_field<&AgentStatus::at_grant>("at_grant"),
        optional_field<&AgentStatus::struct_pages>("struct_pages", bytes_to(k_max_sentence)),
        field<&AgentStatus::problems>("problems", list_of(k_max_problems)),
    };
};

// --- the controller's API -------------------------------------------------------------------

template <>
struct FieldList<Mark> {
    static constexpr std::string_view k_title = "mark";
    static constexpr std::array k_fields{
        field<&Mark::what>("what", bytes_to(k_max_word)),
        field<&Mark::message>("message", bytes_to(k_max_sentence)),
    };
};

template <>
struct FieldList<VmSummary> {
    static constexpr std::string_view k_title = "VM";
    static constexpr std::array k_fields{
        field<&VmSummary::name>("name", bytes_to(k_max_name)),
        field<&VmSummary::uuid>("uuid", bytes_to(k_max_word)),
        field<&VmSummary::id>("id"),
        field<&VmSummary::state>("state"),
        field<&VmSummary::policy>("policy"),
        field<&VmSummary::policy_source>("policy_source", bytes_to(k_max_name)),
        field<&VmSummary::ram>("ram_bytes"),
        field<&VmSummary::balloon_target>("balloon_target_bytes"),
        field<&VmSummary::balloon_actual>("balloon_actual_bytes"),
        optional_field<&VmSummary::size>("size_bytes"),
        field<&VmSummary::host>("host_bytes"),
        field<&VmSummary::host_swap>("host_swap_bytes"),
        field<&VmSummary::qemu_own>("qemu_own_bytes"),
        field<&VmSummary::virtio_mem>("virtio_mem_bytes"),
        field<&VmSummary::virtio_mem_requested>("virtio_mem_requested_bytes"),
        field<&VmSummary::held>("held_bytes"),
        field<&VmSummary::agent_connected>("agent_connected"),
        field<&VmSummary::agent_state>("agent_state"),
        field<&VmSummary::psi>("psi_bp", {.most = k_full_bp.count()}),
        field<&VmSummary::marks>("marks", list_of(k_max_problems)),
        field<&VmSummary::last_reason>("last_reason", bytes_to(k_max_sentence)),
        field<&VmSummary::last_change>("last_change", bytes_to(k_max_word)),
        field<&VmSummary::last_change_reason>("last_change_reason", bytes_to(k_max_sentence)),
        field<&VmSummary::last_change_time>("last_change_time_us"),
    };
};

template <>
struct FieldList<HostSummary> {
    static constexpr std::string_view k_title = "host";
    static constexpr std::array k_fields{
        field<&HostSummary::mem_total>("mem_total_bytes"),
        field<&HostSummary::mem_available>("mem_available_bytes"),
        field<&HostSummary::budget>("budget_bytes"),
        field<&HostSummary::granted>("granted_bytes"),
        field<&HostSummary::reserve>("reserve_bytes"),
        field<&HostSummary::reserved>("reserved_bytes"),
        optional_field<&HostSummary::lacking>("lacking_bytes"),
        field<&HostSummary::psi>("psi_bp", {.most = k_full_bp.count()}),
        optional_field<&HostSummary::strain>("strain", bytes_to(k_max_word)),
        optional_field<&HostSummary::strain_reason>("strain_reason", bytes_to(k_max_sentence)),
        field<&HostSummary::libvirt_connected>("libvirt_connected"),
        field<&HostSummary::paused>("paused"),
        field<&HostSummary::dry_run>("dry_run"),
    };
};

template <>
struct FieldList<VmList> {
    static constexpr std::string_view k_title = "VM list";
    static constexpr std::array k_fields{
        field<&VmList::controller_version>("controller_version", bytes_to(k_max_word)),
        field<&VmList::host>("host"),
        field<&VmList::vms>("vms", list_of(k_max_vms)),
    };
};

template <>
struct FieldList<VmAgent> {
    static constexpr std::string_view k_title = "agent";
    static constexpr std::array k_fields{
        field<&VmAgent::connected>("connected"),
        field<&VmAgent::version>("version", bytes_to(k_max_word)),
        field<&VmAgent::capabilities>("capabilities", list_of(k_max_capabilities)),
        field<&VmAgent::age>("age_us"),
        field<&VmAgent::status>("status"),
    };
};

template <>
struct FieldList<VmStatistics> {
    static constexpr std::string_view k_title = "statistics";
    static constexpr std::array k_fields{
        field<&VmStatistics::age>("age_us"),
        field<&VmStatistics::unused>("unused_bytes"),
        field<&VmStatistics::usable>("usable_bytes"),
        field<&VmStatistics::swap_in_total>("swap_in_total_bytes"),
        field<&VmStatistics::major_faults_total>("major_faults_total"),
        field<&VmStatistics::headroom>("headroom_bytes"),
        field<&VmStatistics::decision>("decision", bytes_to(k_max_word)),
        field<&VmStatistics::reason>("reason", bytes_to(k_max_sentence)),
    };
};

template <>
struct FieldList<VmDetail> {
    static constexpr std::string_view k_title = "VM detail";
    static constexpr std::array k_fields{
        field<&VmDetail::vm>("vm"),
        field<&VmDetail::agent>("agent"),
        field<&VmDetail::statistics>("statistics"),
    };
};

template <>
struct FieldList<ExplainEntry> {
    static constexpr std::string_view k_title = "explain entry";
    static constexpr std::array k_fields{
        field<&ExplainEntry::time>("time_us"),
        field<&ExplainEntry::decision>("decision", bytes_to(k_max_word)),
        field<&ExplainEntry::reason>("reason", bytes_to(k_max_sentence)),
        field<&ExplainEntry::numbers>("numbers", list_of(k_max_numbers)),
    };
};

template <>
struct FieldList<Explanation> {
    static constexpr std::string_view k_title = "explanation";
    static constexpr std::array k_fields{
        field<&Explanation::name>("name", bytes_to(k_max_name)),
        field<&Explanation::uuid>("uuid", bytes_to(k_max_word)),
        field<&Explanation::entries>("entries", list_of(k_max_entries)),
    };
};

template <>
struct FieldList<PolicyChange> {
    static constexpr std::string_view k_title = "policy change";
    static constexpr std::array k_fields{
        field<&PolicyChange::min_mem>("min_mem_bytes", {.least = k_least_min_mem.count()}),
        field<&PolicyChange::max_mem>("max_mem_bytes", {.least = k_least_min_mem.count()}),
        field<&PolicyChange::psi>("psi_bp", k_psi_bounds),
        field<&PolicyChange::shares>("shares", k_shares_bounds),
        field<&PolicyChange::mode>("mode"),
    };
};

template <>
struct FieldList<Reservation> {
    static constexpr std::string_view k_title = "reservation";
    static constexpr std::array k_fields{
        field<&Reservation::id>("id"),
        field<&Reservation::size>("size_bytes"),
        field<&Reservation::domain>("domain", bytes_to(k_max_name)),
        field<&Reservation::ends_in>("ends_in_us"),
    };
};

template <>
struct FieldList<UsageEntry> {
    static constexpr std::string_view k_title = "usage entry";
    static constexpr std::array k_fields{
        field<&UsageEntry::name>("name", bytes_to(k_max_name)),
        field<&UsageEntry::uuid>("uuid", bytes_to(k_max_word)),
        field<&UsageEntry::used_mib_seconds>("used_mib_seconds"),
        field<&UsageEntry::above_min_mib_seconds>("above_min_mib_seconds"),
        field<&UsageEntry::measured>("measured_us"),
        field<&UsageEntry::missing>("missing_us"),
    };
};

template <>
struct FieldList<ReservationList> {
    static constexpr std::string_view k_title = "reservations";
    static constexpr std::array k_fields{
        field<&ReservationList::reservations>("reservations", list_of(k_max_entries)),
        field<&ReservationList::missing>("missing_bytes"),
    };
};

template <>
struct FieldList<ReservationRequest> {
    static constexpr std::string_view k_title = "reservation request";
    static constexpr std::array k_fields{
        field<&ReservationRequest::size>("size_bytes"),
        field<&ReservationRequest::domain>("domain", bytes_to(k_max_name)),
        field<&ReservationRequest::lasts>("lasts_us"),
    };
};

template <>
struct FieldList<UsageReport> {
    static constexpr std::string_view k_title = "usage report";
    static constexpr std::array k_fields{
        field<&UsageReport::since>("since_us"),
        field<&UsageReport::until>("until_us"),
        field<&UsageReport::vms>("vms", list_of(k_max_usage_entries)),
        field<&UsageReport::problem>("problem", bytes_to(k_max_sentence)),
    };
};

constexpr Bounds k_share_bounds{.most = k_full_bp.count()};

template <>
struct FieldList<VmPoint> {
    static constexpr std::string_view k_title = "VM point";
    static constexpr std::array k_fields{
        field<&VmPoint::time>("time_us"),
        field<&VmPoint::min_mem>("min_mem_bytes"),
        field<&VmPoint::max_mem>("max_mem_bytes"),
        field<&VmPoint::grant>("grant_bytes"),
        field<&VmPoint::size>("size_bytes"),
        field<&VmPoint::host>("host_bytes"),
        field<&VmPoint::psi>("psi_bp", k_share_bounds),
        field<&VmPoint::psi_target>("psi_target_bp", k_share_bounds),
    };
};

template <>
struct FieldList<HostPoint> {
    static constexpr std::string_view k_title = "host point";
    static constexpr std::array k_fields{
        field<&HostPoint::time>("time_us"),
        field<&HostPoint::budget>("budget_bytes"),
        field<&HostPoint::granted>("granted_bytes"),
        field<&HostPoint::reserved>("reserved_bytes"),
        field<&HostPoint::used>("used_bytes"),
        field<&HostPoint::mem_available>("mem_available_bytes"),
        field<&HostPoint::psi>("psi_bp", k_share_bounds),
    };
};

template <>
struct FieldList<VmHistory> {
    static constexpr std::string_view k_title = "VM history";
    static constexpr std::array k_fields{
        field<&VmHistory::name>("name", bytes_to(k_max_name)),
        field<&VmHistory::uuid>("uuid", bytes_to(k_max_word)),
        field<&VmHistory::points>("points", list_of(k_max_points)),
    };
};

template <>
struct FieldList<HistoryReport> {
    static constexpr std::string_view k_title = "history";
    static constexpr std::array k_fields{
        field<&HistoryReport::step>("step_us"),
        field<&HistoryReport::host>("host", list_of(k_max_points)),
        field<&HistoryReport::vms>("vms", list_of(k_max_histories)),
        field<&HistoryReport::next>("next", bytes_to(k_max_word)),
    };
};

template <>
struct FieldList<ApiError> {
    static constexpr std::string_view k_title = "API error";
    static constexpr std::array k_fields{
        field<&ApiError::code>("code", bytes_to(k_max_word)),
        field<&ApiError::message>("message", bytes_to(k_max_sentence)),
    };
};

}  // namespace acma::proto
