// SPDX-License-Identifier: Apache-2.0
// What the HTTP interface offers, without sockets: a request in, a response out.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "host-controller/api_asio/web_guard.h"
#include "host-controller/chart/charts.h"
#include "host-controller/fleet/fleet.h"
#include "host-controller/meter/meter.h"

namespace acma::host {

// Who asks: changes are taken over the unix socket only, whose file permissions say who may.
enum class Entrance { unix_socket, tcp };

struct ApiRequest {
    std::string method;  // GET for HEAD too
    std::string target;
    std::string body;
    Entrance entrance = Entrance::unix_socket;
};

struct ApiResponse {
    unsigned status = 200;
    std::string content_type = "application/json";
    std::string body;
    std::string_view content_policy = k_no_content;  // Content-Security-Policy
    std::string allow = {};                          // methods, where that one is not allowed
    bool operator==(const ApiResponse&) const = default;
};
using Respond = std::function<void(ApiResponse)>;

// What is asked, and what is charted at which time.
struct Served {
    Fleet& fleet;
    Meter& meter;
    const Charts& charts;
    std::function<Now()> clock;
};
// Answers at once, or when libvirt or the meter's database has; exactly once.
void handle_request(const Served& served, const ApiRequest& request, const Respond& respond);

[[nodiscard]] ApiResponse error_response(unsigned status, const Error& error);

}  // namespace acma::host
