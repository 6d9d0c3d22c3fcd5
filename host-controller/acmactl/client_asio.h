// SPDX-License-Identifier: Apache-2.0
// One request to the controller over its unix socket.
#pragma once

#include <string>

#include "engine/base/result.h"

namespace acma::ctl {

struct Answer {
    unsigned status = 0;
    std::string body;
};

struct Request {
    std::string method = "GET";
    std::string target;
    std::string body;
};

// Errors say why the controller cannot be reached; what it answers is in the Answer.
[[nodiscard]] Result<Answer> ask(const std::string& socket_path, const Request& request);

}  // namespace acma::ctl
