// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/commands.h"

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include <langinfo.h>
#include <unistd.h>

#include "host-controller/acmactl/client_asio.h"
#include "host-controller/acmactl/held_signals.h"
#include "host-controller/acmactl/render.h"
#include "host-controller/acmactl/terminal.h"
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

template <typename Document>
struct Asked {
    Exit exit = Exit::good;
    std::string body;  // the answer, or what went wrong
    Document document;
};

template <typename Document>
Asked<Document> fetch(const Target& target, const Request& request) {
    const Result<Answer> answer = ask(target.socket, request);
    if (!answer) {
        return {Exit::unreachable, answer.error().message, {}};
    }
    if (answer->status != k_ok) {
        const auto error = proto::from_json<proto::ApiError>(answer->body);
        return {answer->status == k_status_not_found ? Exit::not_found : Exit::refused,
                error ? error->message : "the controller answers with an error",
                {}};
    }
    const Result<Document> document = proto::from_json<Document>(answer->body);
    if (!document) {
        return {Exit::refused,
                "the controller's answer is not understood: " + document.error().message,
                {}};
    }
    return {Exit::good, answer->body, *document};
}

// The same; why there is none has been said.
template <typename Document>
Asked<Document> document_of(const Target& target, const Request& request) {
    auto asked = fetch<Document>(target, request);
    if (asked.exit != Exit::good) {
        complain(asked.exit, asked.body);
    }
    return asked;
}

Exit print(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? Exit::good : complain(Exit::refused, "cannot write");
}

// Prints the outcome: the document by `render`, or as JSON, or the error.
template <typename Document, typename Render>
Exit run(const Target& target, const Request& request, Render render) {
    const auto asked = document_of<Document>(target, request);
    if (asked.exit != Exit::good) {
        return asked.exit;
    }
    return print(target.json ? asked.body : render(asked.document));
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

namespace {
Exit release_one(const Target& target, const std::string& domain) {
    return run<proto::VmDetail>(
        target, {"POST", vm_path(domain) + "/release", ""}, [](const proto::VmDetail& detail) {
            return printable(detail.vm.name) + ": released, it gets " + human(detail.vm.ram) + "\n";
        });
}
}  // namespace

Exit release(const Target& target, const std::string& domain) {
    if (!domain.empty()) {
        return release_one(target, domain);
    }
    const auto all = document_of<proto::VmList>(target, {.target = "/v1/vms"});
    if (all.exit == Exit::good && !all.document.host.libvirt_connected) {
        return complain(Exit::refused, "libvirt is not connected");
    }
    Exit worst = all.exit;
    for (const proto::VmSummary& vm : all.document.vms) {
        // One that is gone meanwhile, or that cannot be released, does not keep the others.
        if (vm.policy) {
            worst = std::max(worst, release_one(target, vm.uuid));
        }
    }
    return worst;
}

Exit pause(const Target& target, bool paused) {
    return run<proto::HostSummary>(target, {"POST", paused ? "/v1/pause" : "/v1/resume", ""},
                                   [](const proto::HostSummary& host) {
                                       return std::string(host.paused ? "paused\n" : "resumed\n");
                                   });
}

namespace {
constexpr const char* k_reservations = "/v1/reservations";

Request ending(uint64_t reservation) {
    return {"DELETE", k_reservations + ("/" + std::to_string(reservation)), ""};
}
// Where nothing came of it: what became of it.
std::string given_up(const Target& target, uint64_t reservation) {
    const auto ended = fetch<proto::ReservationList>(target, ending(reservation));
    return ended.exit == Exit::good
               ? "reservation " + std::to_string(reservation) + " is given up"
               : "reservation " + std::to_string(reservation) + " is not given up: " + ended.body;
}

// Until all that is reserved is there, or as long as the operator is patient.
Asked<proto::ReservationList> wait_for(const Target& target, Asked<proto::ReservationList> made,
                                       double patience_s, HeldSignals& ends) {
    const uint64_t id = made.document.reservations.front().id;
    const auto until = std::chrono::steady_clock::now() +
                       std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                           std::chrono::duration<double>(patience_s));
    std::fprintf(stderr, "acmactl: reservation %" PRIu64 " waits until VMs have given up %s\n", id,
                 human(made.document.missing).c_str());
    Asked<proto::ReservationList> now = std::move(made);
    while (now.exit == Exit::good && now.document.missing > Bytes(0)) {
        const auto woken = std::chrono::steady_clock::now();
        if (woken >= until) {
            now.exit = Exit::refused;
            now.body = "the VMs have not given up enough in time, " + human(now.document.missing) +
                       " are missing";
        } else if (const auto signal =
                       ends.wait_until(std::min(until, woken + std::chrono::milliseconds(500)))) {
            complain(Exit::refused, "stopped; " + given_up(target, id));
            (void)::raise(*signal);  // comes when nobody holds it back any more
            now.exit = Exit::refused;
            return now;
        } else {
            now = fetch<proto::ReservationList>(target, {.target = k_reservations});
        }
    }
    if (now.exit != Exit::good) {
        complain(now.exit, now.body + "; " + given_up(target, id));
    }
    return now;
}
}  // namespace

Exit reserve(const Target& target, const proto::ReservationRequest& request,
             const ReserveOptions& options) {
    std::optional<HeldSignals> ends;  // or who ends us in between leaves a reservation behind
    if (options.wait_s > 0) {
        ends.emplace();
    }
    const auto made = document_of<proto::ReservationList>(
        target, {"POST", k_reservations, proto::to_json(request)});
    if (made.exit != Exit::good) {
        return made.exit;
    }
    if (made.document.reservations.empty()) {
        return complain(Exit::refused, "the controller did not say what it reserved");
    }
    auto now = made;
    if (ends && made.document.missing > Bytes(0)) {
        now = wait_for(target, made, options.wait_s, *ends);
        if (now.exit != Exit::good) {
            return now.exit;
        }
    }
    const proto::ReservationList list{made.document.reservations, now.document.missing};
    return print(target.json ? proto::to_json(list, proto::Layout::indented)
                             : render_reservations(list));
}

Exit reservations(const Target& target) {
    return run<proto::ReservationList>(target, {.target = k_reservations}, render_reservations);
}

Exit give_up(const Target& target, uint64_t reservation) {
    return run<proto::ReservationList>(
        target, ending(reservation), [reservation](const proto::ReservationList&) {
            return "reservation " + std::to_string(reservation) + " is given up\n";
        });
}

Exit usage(const Target& target, const UsageOptions& options) {
    std::string query;
    for (const auto& [name, value] :
         {std::pair{"since=", options.since}, std::pair{"until=", options.until}}) {
        if (!value.empty()) {
            query += (query.empty() ? "?" : "&") + (name + host::percent_encode(value));
        }
    }
    const std::string domain =
        options.domain.empty() ? "" : "/" + host::percent_encode(options.domain);
    return run<proto::UsageReport>(
        target, {.target = "/v1/usage" + domain + query}, [&target](const auto& report) {
            if (report.problem) {
                std::fprintf(stderr, "acmactl: %s\n", printable(*report.problem).c_str());
            }
            return target.csv ? render_usage_csv(report) : render_usage(report);
        });
}

namespace {
Micros wall_now() {
    return std::chrono::duration_cast<Micros>(std::chrono::system_clock::now().time_since_epoch());
}

// Without the newlines and blanks between its values: one line of JSON, for `while read`.
std::string in_a_line(const std::string& document) {
    std::string line;
    bool indent = false;
    for (const char c : document) {  // no text in it has a raw newline
        indent = c == '\n' || (indent && c == ' ');
        line += indent ? "" : std::string(1, c);
    }
    return line + "\n";
}

Glyphs glyphs_here() {
    (void)std::setlocale(LC_CTYPE, "");
    return std::string_view(::nl_langinfo(CODESET)) == "UTF-8" ? Glyphs::blocks : Glyphs::ascii;
}

Exit top_on_terminal(const Target& target, const TopOptions& options) {
    TopView view(options.sort, glyphs_here());
    const std::chrono::duration<double> interval(options.interval_s);
    std::optional<Terminal> terminal(std::in_place);
    for (uint64_t shown = 1;; ++shown) {
        const auto next = std::chrono::steady_clock::now() +
                          std::chrono::duration_cast<std::chrono::steady_clock::duration>(interval);
        auto asked = fetch<proto::VmList>(target, {.target = "/v1/vms"});
        if (asked.exit != Exit::good) {
            terminal.reset();  // or it would be said on a screen that goes
            return complain(asked.exit, asked.body);
        }
        view.add(std::move(asked.document), wall_now());
        do {
            if (!terminal->draw(view.render(terminal->size()))) {
                return Exit::refused;
            }
            const std::optional<char> key = terminal->key(next);
            if (key && view.press(*key) == TopView::Key::quit) {
                return Exit::good;
            }
        } while (std::chrono::steady_clock::now() < next);
        if (shown == options.count) {
            terminal.reset();
            return print(view.render({}));  // what was seen last stays
        }
    }
}
}  // namespace

Exit top(const Target& target, const TopOptions& options) {
    if (!target.json && ::isatty(STDOUT_FILENO) == 1) {
        return top_on_terminal(target, options);
    }
    const std::chrono::duration<double> interval(options.interval_s);
    std::string noticed;
    for (uint64_t shown = 0;;) {
        const auto started = std::chrono::steady_clock::now();
        const auto asked = document_of<proto::VmList>(target, {.target = "/v1/vms"});
        // The lines of VMs are a program's to read; of JSON it has the host's own fields.
        const std::string notices =
            target.json || asked.exit != Exit::good ? "" : render_notices(asked.document.host);
        if (notices != std::exchange(noticed, notices)) {
            std::fputs(notices.c_str(), stderr);
        }
        const Exit outcome = asked.exit != Exit::good
                                 ? asked.exit
                                 : print(target.json ? in_a_line(asked.body)
                                                     : render_plain(asked.document, wall_now()));
        if (outcome != Exit::good || ++shown == options.count) {
            return outcome;
        }
        std::this_thread::sleep_until(started + interval);
    }
}

}  // namespace acma::ctl
