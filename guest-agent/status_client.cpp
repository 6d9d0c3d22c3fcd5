// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/status_client.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "platform/fd.h"
#include "proto/messages.h"
#include "proto/wire_limits.h"

namespace acma::agent {

Result<AgentStatus> ask_status(const std::string& socket_path) {
    sockaddr_un address{};
    if (socket_path.size() >= sizeof(address.sun_path)) {
        return Error{ErrorCode::invalid, socket_path + " is too long for a unix socket"};
    }
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_path.c_str(), sizeof(address.sun_path) - 1);
    const platform::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    constexpr timeval k_patience{.tv_sec = 3, .tv_usec = 0};
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &k_patience, sizeof(k_patience));
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &k_patience, sizeof(k_patience));
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        return error_from_errno(errno, "reach acma-agent on " + socket_path + " (is it running?)");
    }
    const proto::Request request{.command = proto::GetStatus{}, .id = int64_t{1}};
    const std::string line = proto::encode(request) + "\n";
    if (::write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
        return error_from_errno(errno, "ask acma-agent");
    }
    std::string reply;
    while (reply.find('\n') == std::string::npos) {
        std::array<char, 4096> buffer{};
        const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
        if (got <= 0) {
            return got == 0 ? Error{ErrorCode::io, "acma-agent closed the connection"}
                            : error_from_errno(errno, "wait for acma-agent's answer");
        }
        reply.append(buffer.data(), static_cast<size_t>(got));
        if (reply.size() > proto::k_max_reply_bytes) {
            return Error{ErrorCode::too_large, "acma-agent's answer is too long"};
        }
    }
    const auto outcome = proto::decode_reply(reply.substr(0, reply.find('\n')), request);
    if (!outcome) {
        return outcome.error().in("acma-agent's answer");
    }
    if (!*outcome) {
        return Error{ErrorCode::invalid, "acma-agent answered something else"};
    }
    if (const auto* failure = std::get_if<proto::Failure>(&**outcome)) {
        return Error{ErrorCode::invalid, failure->desc};
    }
    const auto* value = std::get_if<AgentStatus>(&std::get<proto::Return>(**outcome));
    return value != nullptr ? Result<AgentStatus>(*value)
                            : Result<AgentStatus>(
                                  Error{ErrorCode::invalid, "acma-agent answered something else"});
}

std::string describe(const AgentStatus& status) {
    std::string text;
    const auto line = [&text](std::string_view name, const std::string& value) {
        text += std::string(name) + std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') +
                value + "\n";
    };
    line("state", std::string(to_string(status.state)) + ": " + status.reason);
    line("policy", status.policy_source == PolicySource::none
                       ? "none yet"
                       : acma::describe(status.policy) + " (from " +
                             std::string(to_string(status.policy_source)) + ")");
    line("pressure", "PSI some " + human(status.psi) + " over the last 10 s, target " +
                         human(status.policy.psi));
    line("memory", human(status.mem_total) + " total, " + human(status.mem_free) + " free, " +
                       human(status.mem_available) + " available");
    line("swap", human(status.swap_total) + " total, " + human(status.swap_free) + " free; in " +
                     human(status.swap_in_total) + ", out " + human(status.swap_out_total) +
                     " since boot");
    line("page-out", "may try " + human(status.quota_per_s) + "/s; freed " +
                         human(status.reclaimed_total) + " since the agent's start");
    if (!status.scaling.empty()) {
        line("blocks", human(status.owned) + " owned, " + human(status.voluntary) +
                           " of it voluntary; taken " + human(status.taken_total) +
                           ", given back " + human(status.returned_total));
        line("scaling", status.scaling);
    }
    if (!status.struct_pages.empty()) {
        line("struct pages", status.struct_pages);
    }
    line("OOM kills", std::to_string(status.oom_kills_total));
    line("agent", "version " + status.agent_version + ", up " + human(status.uptime));
    for (const auto& problem : status.problems) {
        line("problem", problem.what + ": " + problem.message);
    }
    return text;
}

}  // namespace acma::agent
