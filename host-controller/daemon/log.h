// SPDX-License-Identifier: Apache-2.0
// Log lines to stderr; under systemd each carries its level for the journal (sd-daemon(3)).
#pragma once

#include <memory>
#include <string>

#include <spdlog/logger.h>

namespace acma::host {

// `level` is one of those that the config knows.
[[nodiscard]] std::shared_ptr<spdlog::logger> make_log(const std::string& level);

}  // namespace acma::host
