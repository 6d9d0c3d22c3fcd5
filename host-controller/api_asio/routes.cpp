// SPDX-License-Identifier: Apache-2.0
#include "host-controller/api_asio/routes.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "host-controller/api_asio/history_route.h"
#include "host-controller/api_asio/percent.h"
#include "host-controller/api_asio/query.h"
#include "host-controller/metadata/uuid.h"
#include "host-controller/metrics/metrics.h"
#include "host-controller/page/page.h"
#include "proto/controller_api.h"

namespace acma::host {

namespace {
constexpr unsigned k_ok = 200;
constexpr unsigned k_bad_request = 400;
constexpr unsigned k_forbidden = 403;
constexpr unsigned k_not_found = 404;
constexpr unsigned k_method_not_allowed = 405;
constexpr unsigned k_internal = 500;
constexpr unsigned k_unavailable = 503;

unsigned status_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::invalid:
        case ErrorCode::too_large:
            return k_bad_request;
        case ErrorCode::not_found:
            return k_not_found;
        case ErrorCode::permission:
            return k_forbidden;
        case ErrorCode::busy:
        case ErrorCode::timeout:
            return k_unavailable;
        case ErrorCode::unsupported:
        case ErrorCode::io:
            break;
    }
    return k_internal;
}

template <typename Document>
ApiResponse json(const Document& document) {
    return {k_ok, "application/json", proto::to_json(document, proto::Layout::indented)};
}

template <typename Document>
ApiResponse json_or_error(const Result<Document>& document) {
    return document ? json(*document)
                    : error_response(status_of(document.error().code), document.error());
}

ApiResponse metrics(const Fleet& fleet, const Meter& meter) {
    Figures figures{fleet.list(), {}, {}, {}, fleet.timings(), meter.writes()};
    for (const auto& [id, vm] : fleet.vms()) {
        figures.agent_cost[id.uuid] = fleet.agent_cost(id);
        figures.decisions[id.uuid] = vm.history().decisions_total();
        if (const auto total = meter.total(id.uuid)) {
            figures.used[id.uuid] = {static_cast<double>(total->used),
                                     static_cast<double>(total->above_min)};
        }
    }
    return {k_ok, "text/plain; version=0.0.4; charset=utf-8", metrics_text(figures)};
}

// Healthy means that it can do its work; without libvirt it only keeps what is.
ApiResponse health(Fleet& fleet) {
    const bool connected = fleet.host().libvirt_connected;
    return {connected ? k_ok : k_unavailable, "text/plain",
            connected ? "ok\n" : "libvirt is not connected\n"};
}

void set_policy(Fleet& fleet, const std::string& domain, const ApiRequest& request,
                const Respond& respond) {
    const auto change = proto::from_json_strict<proto::PolicyChange>(request.body);
    if (!change) {
        return respond(error_response(k_bad_request, change.error()));
    }
    fleet.change_policy(domain, *change, [respond](const Result<proto::VmDetail>& changed) {
        respond(json_or_error(changed));
    });
}

ApiResponse reserve(Fleet& fleet, const ApiRequest& request) {
    const auto wanted = proto::from_json_strict<proto::ReservationRequest>(request.body);
    return wanted ? json_or_error(fleet.reserve(*wanted))
                  : error_response(k_bad_request, wanted.error());
}

ApiResponse give_up(Fleet& fleet, const std::string& number) {
    uint64_t id = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id);
    if (error != std::errc() || end != number.data() + number.size()) {
        return error_response(k_bad_request, {ErrorCode::invalid, "a reservation is a number"});
    }
    return json_or_error(fleet.give_up(id));
}

Result<Meter::Question> read_period(std::string_view target) {
    const Result<Query> query = read_query(target);
    if (!query) {
        return query.error();
    }
    Meter::Question question;
    for (const auto& [name, value] : *query) {
        if (name != "since" && name != "until") {
            return Error{ErrorCode::invalid, "usage takes since and until only"};
        }
        (name == "since" ? question.since : question.until) = value;
    }
    return question;
}

// A running domain is known by its id too; one that is gone by its UUID or last name.
void answer_usage(const Fleet& fleet, Meter& meter, std::string_view target,
                  const std::vector<std::string>& path, const Respond& respond) {
    Result<Meter::Question> question = read_period(target);
    if (!question) {
        return respond(error_response(k_bad_request, question.error()));
    }
    if (path.size() > 2) {
        const Result<VmId> running = fleet.find(path[2]);
        question->domain = running ? running->uuid : read_uuid(path[2]).value_or(path[2]);
    }
    meter.ask(*question, [respond](const Result<proto::UsageReport>& report) {
        respond(json_or_error(report));
    });
}

const PageFile* page_file(std::string_view target) {
    const auto files = page_files();
    const std::string_view path = target.substr(0, target.find('?'));
    const auto found = std::find_if(files.begin(), files.end(),
                                    [path](const PageFile& file) { return file.path == path; });
    return found == files.end() ? nullptr : &*found;
}

// Where a resource takes these methods only. Whoever takes GET takes HEAD (http_server_asio.cpp).
ApiResponse not_allowed(const std::vector<std::string_view>& methods, const std::string& method) {
    ApiResponse response =
        error_response(k_method_not_allowed,
                       {ErrorCode::invalid, "this resource does not take " + method.substr(0, 16)});
    for (const std::string_view each : methods) {
        response.allow += (response.allow.empty() ? "" : ", ") + std::string(each) +
                          (each == "GET" ? ", HEAD" : "");
    }
    return response;
}

ApiResponse show(const PageFile& file, const std::string& method) {
    if (method != "GET") {
        return not_allowed({"GET"}, method);
    }
    return {k_ok, std::string(file.content_type), std::string(file.content), k_page_policy};
}

// "/v1/vms/a%20b/explain" -> {"v1", "vms", "a b", "explain"}, without its query.
Result<std::vector<std::string>> split_target(std::string_view target) {
    std::vector<std::string> segments;
    if (target.empty() || target.front() != '/') {
        return Error{ErrorCode::invalid, "the path must start with /"};
    }
    target = target.substr(1, target.find('?') - 1);
    while (true) {
        const size_t slash = target.find('/');
        Result<std::string> segment = percent_decode(target.substr(0, slash));
        if (!segment) {
            return segment.error();
        }
        segments.push_back(*std::move(segment));
        if (slash == std::string_view::npos) {
            return segments;
        }
        target.remove_prefix(slash + 1);
    }
}

enum class Resource {
    none,
    metrics,
    health,
    list,
    show,
    explain,
    history,
    policy,
    release,
    pause,
    resume,
    usage,
    reservations,
    reservation
};

// What may be done with it.
std::vector<std::string_view> methods_of(Resource resource) {
    switch (resource) {
        case Resource::policy:
        case Resource::release:
        case Resource::pause:
        case Resource::resume:
            return {"POST"};
        case Resource::reservations:
            return {"GET", "POST"};
        case Resource::reservation:
            return {"DELETE"};
        default:
            return {"GET"};
    }
}

Resource resource_of(const std::vector<std::string>& path) {
    if (path.size() == 1) {
        return path[0] == "metrics"   ? Resource::metrics
               : path[0] == "healthz" ? Resource::health
                                      : Resource::none;
    }
    if (path[0] == "v1" && path.size() == 2 && (path[1] == "pause" || path[1] == "resume")) {
        return path[1] == "pause" ? Resource::pause : Resource::resume;
    }
    if (path[0] == "v1" && path.size() == 2 && path[1] == "history") {
        return Resource::history;
    }
    if (path[0] == "v1" && path[1] == "reservations") {
        return path.size() == 2   ? Resource::reservations
               : path.size() == 3 ? Resource::reservation
                                  : Resource::none;
    }
    if (path[0] == "v1" && path[1] == "usage") {
        const bool good = path.size() == 2 || (path.size() == 3 && !path[2].empty());
        return good ? Resource::usage : Resource::none;
    }
    if (path[0] != "v1" || path[1] != "vms" || (path.size() > 2 && path[2].empty())) {
        return Resource::none;
    }
    if (path.size() == 2) {
        return Resource::list;
    }
    if (path.size() == 3) {
        return Resource::show;
    }
    if (path.size() == 4) {
        return path[3] == "explain"   ? Resource::explain
               : path[3] == "history" ? Resource::history
               : path[3] == "policy"  ? Resource::policy
               : path[3] == "release" ? Resource::release
                                      : Resource::none;
    }
    return Resource::none;
}

ApiResponse read(Fleet& fleet, const Meter& meter, Resource resource,
                 const std::vector<std::string>& path) {
    switch (resource) {
        case Resource::metrics:
            return metrics(fleet, meter);
        case Resource::health:
            return health(fleet);
        case Resource::list:
            return json(fleet.list());
        case Resource::show:
            return json_or_error(fleet.detail(path[2]));
        case Resource::explain:
            return json_or_error(fleet.explain(path[2]));
        case Resource::reservations:
            return json(fleet.reservations());
        case Resource::none:
        case Resource::policy:
        case Resource::release:
        case Resource::pause:
        case Resource::resume:
        case Resource::reservation:
        case Resource::usage:
        case Resource::history:
            break;
    }
    return error_response(k_not_found, {ErrorCode::not_found, "there is no such resource"});
}
}  // namespace

ApiResponse error_response(unsigned status, const Error& error) {
    const proto::ApiError document{std::string(to_string(error.code)), error.message};
    return {status, "application/json", proto::to_json(document, proto::Layout::indented)};
}

void handle_request(const Served& served, const ApiRequest& request, const Respond& respond) {
    const auto& [fleet, meter, charts, clock] = served;
    if (const PageFile* file = page_file(request.target)) {
        return respond(show(*file, request.method));
    }
    const Result<std::vector<std::string>> path = split_target(request.target);
    if (!path) {
        return respond(error_response(k_bad_request, path.error()));
    }
    const Resource resource = resource_of(*path);
    const auto methods = methods_of(resource);
    if (resource != Resource::none &&
        std::find(methods.begin(), methods.end(), request.method) == methods.end()) {
        return respond(not_allowed(methods, request.method));
    }
    if (resource == Resource::history) {
        const std::string* only = path->size() > 2 ? &(*path)[2] : nullptr;
        return respond(json_or_error(history(fleet, charts, request.target, only, clock())));
    }
    if (resource == Resource::usage) {
        return answer_usage(fleet, meter, request.target, *path, respond);
    }
    if (resource == Resource::none || request.method == "GET") {
        return respond(read(fleet, meter, resource, *path));
    }
    if (request.entrance != Entrance::unix_socket) {
        return respond(error_response(
            k_forbidden, {ErrorCode::permission, "changes are taken over the unix socket only"}));
    }
    if (resource == Resource::policy) {
        return set_policy(fleet, (*path)[2], request, respond);
    }
    if (resource == Resource::release) {
        return fleet.release((*path)[2], [respond](const Result<proto::VmDetail>& released) {
            respond(json_or_error(released));
        });
    }
    if (resource == Resource::pause || resource == Resource::resume) {
        return respond(json_or_error(fleet.pause(resource == Resource::pause)));
    }
    respond(resource == Resource::reservations ? reserve(fleet, request)
                                               : give_up(fleet, (*path)[2]));
}

}  // namespace acma::host
