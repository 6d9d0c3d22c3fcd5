// SPDX-License-Identifier: Apache-2.0
// Log lines to stderr; under systemd each carries its level for the journal (sd-daemon(3)).
#pragma once

#include <map>
#include <memory>
#include <string>

#include <spdlog/logger.h>

namespace acma::host {

// Levels are words that the config knows.
[[nodiscard]] std::shared_ptr<spdlog::logger> make_log(const std::string& level);
// The same, at the level of this part where it has one.
[[nodiscard]] std::shared_ptr<spdlog::logger> log_of(
    const spdlog::logger& log, const std::string& part,
    const std::map<std::string, std::string>& levels);

}  // namespace acma::host
