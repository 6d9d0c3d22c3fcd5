// SPDX-License-Identifier: Apache-2.0
// The command line of acma-controller, and the config that comes of it.
#pragma once

#include <optional>
#include <string>

#include "engine/base/result.h"
#include "host-controller/config/config.h"

namespace acma::host {

struct DaemonOptions {
    std::string config_path = "/etc/acma/controller.toml";
    bool config_given = false;
    std::optional<std::string> connect;
    std::optional<std::string> socket;
    std::optional<std::string> log_level;
    bool check_config = false;
    bool dry_run = false;
};

// Nothing: the process is to end with `exit_code` (--help, --version, a mistake; all said).
[[nodiscard]] std::optional<DaemonOptions> parse_options(int argc, char** argv, int& exit_code);

// The config file, its drop-ins (PATH.d/*.toml) and what the command line puts over them.
[[nodiscard]] Result<ControllerConfig> configure(const DaemonOptions& options);

}  // namespace acma::host
