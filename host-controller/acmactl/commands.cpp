// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/commands.h"

#include <chrono>
#include <cstdio>
#include <thread>

#include <unistd.h>

#include "host-controller/acmactl/client_asio.h"
#include "host-controller/acmactl/render.h"
#include "host-controller/api_asio/percent.h"

namespace acma::ctl {

namespace {
constexpr unsigned k_ok = 200;
constexpr unsigned k_status_not_found = 404;

Exit complain(Exit code, const std::string& message) {
    std::fprintf(stderr, "acmactl: %s\n", printable(message).c_str());
    return code;
}

std::string vm_path(const std::string& domain) {
    return "/v1/vms/" + host::percent_encode(domain);
}

// Prints the outcome: the document by `render`, or as JSON, or the error.
template <typename Document, typename Render>
Exit run(const Target& target, const Request& request, Render render) {
    const Result<Answer> answer = ask(target.socket, request);
    if (!answer) {
        return complain(Exit::unreachable, answer.error().message);
    }
    if (answer->status != k_ok) {
        const auto error = proto::from_json<proto::ApiError>(answer->body);
        return complain(answer->status == k_status_not_found ? Exit::not_found : Exit::refused,
                        error ? error->message : "the controller answers with an error");
    }
    const Result<Document> document = proto::from_json<Document>(answer->body);
    if (!document) {
        return complain(Exit::refused,
                        "the controller's answer is not understood: " + document.error().message);
    }
    const std::string text = target.json ? answer->body : render(*document);
    std::fputs(text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? Exit::good : complain(Exit::refused, "cannot write");
}
}  // namespace

Exit list(const Target& target) {
    return run<proto::VmList>(target, {.target = "/v1/vms"}, render_list);
}

Exit show(const Target& target, const std::string& domain) {
    return run<proto::VmDetail>(target, {.target = vm_path(domain)}, render_detail);
}

Exit explain(const Target& target, const std::string& domain) {
    return run<proto::Explanation>(target, {.target = vm_path(domain) + "/explain"},
                                   render_explanation);
}

Exit set(const Target& target, const std::string& domain, const proto::PolicyChange& change) {
    const Request request{"POST", vm_path(domain) + "/policy", proto::to_json(change)};
    return run<proto::VmDetail>(target, request, [](const proto::VmDetail& detail) {
        return printable(detail.vm.name) + ": " +
               (detail.vm.policy ? describe(*detail.vm.policy) : "no policy") + "\n";
    });
}

Exit top(const Target& target, const TopOptions& options) {
    const bool redraws = !target.json && ::isatty(STDOUT_FILENO) == 1;
    const std::chrono::duration<double> interval(options.interval_s);
    for (uint64_t shown = 0;;) {
        const auto started = std::chrono::steady_clock::now();
        const auto wall =
            std::chrono::duration_cast<Micros>(std::chrono::system_clock::now().time_since_epoch());
        const Exit outcome = run<proto::VmList>(
            target, {.target = "/v1/vms"}, [redraws, wall](const proto::VmList& vms) {
                // Home and clear below, not the whole screen: no flicker, and no lost scrollback.
                return redraws ? "\x1b[H\x1b[J" + render_top(vms, wall) : render_plain(vms, wall);
            });
        if (outcome != Exit::good || ++shown == options.count) {
            return outcome;
        }
        std::this_thread::sleep_until(started + interval);
    }
}

}  // namespace acma::ctl
