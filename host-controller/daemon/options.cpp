// SPDX-License-Identifier: Apache-2.0
#include "host-controller/daemon/options.h"

#include <cstdlib>

#include <CLI/CLI.hpp>

#include "host-controller/config/whole.h"
#include "platform/file.h"
#include "platform/proc.h"

namespace acma::host {

std::optional<DaemonOptions> parse_options(int argc, char** argv, int& exit_code) {
    DaemonOptions options;
    CLI::App app{"Keeps the memory of this host's virtual machines as their policies say."};
    app.name("acma-controller");
    app.set_version_flag("--version", std::string("acma-controller " ACMA_VERSION));
    auto* config = app.add_option("--config", options.config_path,
                                  "Configuration file; FILE.d/*.toml are read after it")
                       ->type_name("FILE")
                       ->capture_default_str();
    const CLI::Validator not_empty(
        [](const std::string& text) { return text.empty() ? "must not be empty" : ""; }, "");
    const CLI::Validator absolute(
        [](const std::string& text) {
            return text.starts_with('/') ? "" : "must be an absolute path";
        },
        "");
    app.add_option("--connect", options.connect, "libvirt URI (qemu:///system)")
        ->type_name("URI")
        ->check(not_empty);
    app.add_option("--socket", options.socket, "Unix socket of the API")
        ->type_name("PATH")
        ->check(absolute);
    app.add_option("--log-level", options.log_level, "debug, info, warning, error or critical")
        ->check(CLI::IsMember({"debug", "info", "warning", "error", "critical"}));
    app.add_flag("--check-config", options.check_config, "Say whether the config is good, and end");
    app.add_flag("--dry-run", options.dry_run,
                 "Decide and explain, but write nothing to domains and guests");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        constexpr int k_usage = 2;
        exit_code = app.exit(error) == 0 ? 0 : k_usage;
        return std::nullopt;
    }
    options.config_given = config->count() > 0;
    return options;
}

namespace {
std::optional<Bytes> memory_of_this_host() {
    const auto text = platform::read_file("/proc/meminfo");
    const auto memory = text ? platform::parse_meminfo(*text) : text.error();
    return memory ? std::optional(memory->total) : std::nullopt;
}
}  // namespace

Result<ControllerConfig> configure(const DaemonOptions& options) {
    Result<ControllerConfig> config =
        load_config(options.config_path, options.config_path + ".d",
                    options.config_given ? ConfigFile::must_exist : ConfigFile::may_be_missing);
    if (config) {
        config->connect = options.connect.value_or(config->connect);
        config->socket = options.socket.value_or(config->socket);
        config->log_level = options.log_level.value_or(config->log_level);
        if (config->usage_database.empty()) {
            // As systemd made it for us (StateDirectory=); the first of several.
            const char* const made = std::getenv("STATE_DIRECTORY");
            const std::string directory = made != nullptr ? made : "/var/lib/acma";
            config->usage_database = directory.substr(0, directory.find(':')) + "/usage.db";
        }
        if (const Status whole = check_whole(*config, memory_of_this_host()); !whole) {
            return whole.error();
        }
    }
    return config;
}

}  // namespace acma::host
