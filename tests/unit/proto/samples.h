// SPDX-License-Identifier: Apache-2.0
// One filled-in value of every struct that has a field list, each number different from the others
// so that no two fields can be swapped unseen.
#pragma once

#include "proto/controller_api.h"
#include "proto/history_api.h"
#include "proto/messages.h"

namespace acma::proto::samples {

inline Policy policy() {
    return {
        .min_mem = 512_MiB, .max_mem = 4_GiB, .psi = 20_bp, .shares = 2000, .mode = Mode::observe};
}

inline SetPolicy set_policy() {
    return {.policy = policy(), .grant = 2_GiB, .generation = 7};
}

inline PolicyInForce policy_in_force() {
    return {.generation = 7, .policy = policy(), .grant = 3_GiB};
}

inline AgentInfo info() {
    return own_info("0.1.0");
}

inline Problem problem() {
    return {.what = "no-swap", .message = "No swap: only file pages can leave."};
}

inline AgentStatus status() {
    return {.agent_version = "0.1.0",
            .sequence = 11,
            .uptime = Micros(12'000'000),
            .state = AgentState::ramping,
            .reason = "psi 0.02 % is below its goal 0.20 %: quota grows",
            .policy = policy(),
            .policy_source = PolicySource::host,
            .policy_generation = 7,
            .mem_total = Bytes(4'001),
            .mem_free = Bytes(4'002),
            .mem_available = Bytes(4'003),
            .swap_total = Bytes(4'004),
            .swap_free = Bytes(4'005),
            .swap_in_total = Bytes(4'006),
            .swap_out_total = Bytes(4'007),
            .refault_total = Bytes(4'008),
            .oom_kills_total = 2,
            .psi_some_total = Micros(4'009),
            .psi = 3_bp,
            .quota_per_s = Bytes(4'010),
            .reclaimed_total = Bytes(4'011),
            .working_set = Bytes(4'012),
            .owned = Bytes(4'013),
            .voluntary = Bytes(4'014),
            .taken_total = Bytes(4'015),
            .returned_total = Bytes(4'016),
            .scaling = "up to 20 MiB are taken",
            .struct_pages = "128 MiB released",
            .problems = {problem()}};
}

inline Failure failure() {
    return {.error_class = std::string(k_generic_error), .desc = "Parameter 'z' is unexpected"};
}

inline Mark mark() {
    return {.what = "agent-silent", .message = "No answer for 20 s; the VM keeps its grant."};
}

inline VmSummary summary() {
    return {.name = "web-1",
            .uuid = "6f3d0a52-6a3a-4a55-9a3f-3a1f2c9d9a10",
            .id = 3,
            .state = VmState::managed,
            .policy = policy(),
            .policy_source = "rule web",
            .ram = Bytes(5'001),
            .balloon_target = Bytes(5'002),
            .balloon_actual = Bytes(5'003),
            .size = Bytes(5'007),
            .host = Bytes(5'004),
            .host_swap = Bytes(5'005),
            .qemu_own = Bytes(5'006),
            .virtio_mem = Bytes(5'009),
            .virtio_mem_requested = Bytes(5'010),
            .held = Bytes(5'008),
            .agent_connected = true,
            .agent_state = AgentState::settled,
            .psi = 4_bp,
            .marks = {mark()},
            .last_reason = "grew by 64 MiB: psi 0.40 % is above its goal",
            .last_change = "grow",
            .last_change_reason = "it needs more",
            .last_change_time = Micros(1'760'000'000'000'000)};
}

inline HostSummary host() {
    return {.mem_total = Bytes(6'001),
            .mem_available = Bytes(6'002),
            .budget = Bytes(6'003),
            .granted = Bytes(6'004),
            .reserve = Bytes(6'005),
            .reserved = Bytes(6'006),
            .lacking = Bytes(6'007),
            .psi = 5_bp,
            .libvirt_connected = true,
            .paused = false,
            .dry_run = true};
}

inline VmList vm_list() {
    return {.controller_version = "0.1.0", .host = host(), .vms = {summary()}};
}

inline VmAgent agent() {
    return {.connected = true,
            .version = "0.1.0",
            .capabilities = {"policy-1", "status-1"},
            .age = Micros(700'000),
            .status = status()};
}

inline VmDetail vm_detail() {
    return {.vm = summary(),
            .agent = agent(),
            .statistics = VmStatistics{.age = Micros(1'000'000),
                                       .unused = 1_GiB,
                                       .usable = 2_GiB,
                                       .swap_in_total = Bytes(0),
                                       .major_faults_total = 7,
                                       .headroom = 128_MiB,
                                       .decision = "keeps",
                                       .reason = "it has what it needs"}};
}

inline ExplainEntry explain_entry() {
    return {.time = Micros(1'760'000'000'000'000),
            .decision = "grow",
            .reason = "psi 0.40 % is above its goal 0.20 %",
            .numbers = {{"grant_bytes", 2'147'483'648}, {"psi_bp", 40}}};
}

inline Explanation explanation() {
    return {.name = "web-1", .uuid = summary().uuid, .entries = {explain_entry()}};
}

inline PolicyChange policy_change() {
    return {.min_mem = 512_MiB,
            .max_mem = 4_GiB,
            .psi = 20_bp,
            .shares = 2000,
            .mode = Mode::automatic};
}

inline Reservation reservation() {
    return {.id = 7, .size = 4_GiB, .domain = "web-2", .ends_in = Micros(300'000'000)};
}

inline ReservationList reservation_list() {
    return {.reservations = {reservation()}, .missing = 1_GiB};
}

inline ReservationRequest reservation_request() {
    return {.size = 4_GiB, .domain = "web-2", .lasts = Micros(60'000'000)};
}

inline UsageReport usage_report() {
    return {.since = Micros(1'760'000'000'000'000),
            .until = Micros(1'760'003'600'000'000),
            .vms = {{"web-1", summary().uuid, 3'686'400, 42, Seconds(3599), Millis(1000)}},
            .problem = "what is kept cannot be written: disk full"};
}

inline HistoryReport history_report() {
    return {.step = Seconds(5),
            .host = {{.time = Micros(1'760'000'000'000'000),
                      .budget = 15_GiB,
                      .granted = 12_GiB,
                      .reserved = 1_GiB,
                      .used = 9_GiB,
                      .mem_available = 6_GiB,
                      .psi = 3_bp}},
            .vms = {{.name = "web-1",
                     .uuid = summary().uuid,
                     .points = {{.time = Micros(1'760'000'000'000'000),
                                 .min_mem = 512_MiB,
                                 .max_mem = 4_GiB,
                                 .grant = 3_GiB,
                                 .size = 2_GiB,
                                 .host = 1_GiB,
                                 .psi = 4_bp,
                                 .psi_target = 10_bp},
                                {.time = Micros(1'760'000'005'000'000)}}}},
            .next = summary().uuid};
}

inline ApiError api_error() {
    return {.code = "not-found", .message = "no domain 'web-9'"};
}

}  // namespace acma::proto::samples
