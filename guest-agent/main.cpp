// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <iostream>

#include <CLI/CLI.hpp>

#include "guest-agent/agent.h"
#include "guest-agent/config.h"
#include "guest-agent/pool.h"
#include "guest-agent/status_client.h"
#include "proto/status_json.h"

namespace {

using namespace acma;

int fail(const Error& error) {
    std::cerr << "acma-agent: " << error.message << "\n";
    return 1;
}

int print_status(const std::string& socket, bool json) {
    const auto status = agent::ask_status(socket);
    if (!status) {
        return fail(status.error());
    }
    std::cout << (json ? proto::to_json(*status, proto::Layout::indented)
                       : agent::describe(*status));
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    CLI::App app{
        "acma-agent keeps a guest as small as its policy allows and as large as its work needs."};
    app.set_version_flag("--version", std::string("acma-agent " ACMA_VERSION));
    app.name("acma-agent");
    std::string config_path = agent::k_default_config;
    agent::Paths paths;
    bool only_check = false;
    bool json = false;
    auto* config_option = app.add_option("--config", config_path,
                                         "configuration file; FILE.d/*.toml are read after it")
                              ->type_name("FILE")
                              ->capture_default_str();
    app.add_flag("--check-config", only_check,
                 "read the configuration, say what is wrong, and exit");
    auto* run_command = app.add_subcommand("run", "the daemon, in the foreground");
    run_command->add_option("--deadman", paths.deadman, "the acma-deadman program")
        ->capture_default_str();
    bool verbose = false;
    run_command->add_flag("--verbose", verbose, "log every decision, not only changes of state");
    auto* status_command = app.add_subcommand("status", "what the running agent does, and why");
    status_command->add_flag("--json", json, "as JSON, sizes in bytes");
    auto* pool_command = app.add_subcommand(
        "pool", "runs a command with physically contiguous memory as a file to be mapped");
    agent::PoolOptions pool;
    std::string pool_size;
    pool_command->add_option("--size", pool_size, "2MiB to 1GiB")->type_name("SIZE")->required();
    pool_command->add_option("--node", pool.node, "of this NUMA node")
        ->type_name("N")
        ->check(CLI::NonNegativeNumber);
    pool_command
        ->add_option("command", pool.command,
                     "and its arguments; the descriptor's number is in ACMA_POOL_FD")
        ->type_name("COMMAND...")
        ->required();
    pool_command->positionals_at_end();
    app.require_subcommand(0, 1);
    constexpr int k_usage = 2;
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : k_usage;
    }

    if (!only_check && app.get_subcommands().empty()) {
        std::cout << app.help();
        return k_usage;
    }
    if (*pool_command && !only_check) {
        const auto size = agent::parse_pool_size(pool_size);
        if (!size) {
            std::cerr << "acma-agent: --size: " << size.error().message << "\n";
            return k_usage;
        }
        pool.size = *size;
        return fail(agent::run_with_pool(paths.shim, pool));
    }
    const bool config_given = config_option->count() > 0;
    auto config = agent::load_config(config_path, config_given ? agent::ConfigFile::must_exist
                                                               : agent::ConfigFile::may_be_missing);
    if (*status_command && !only_check && (config || !config_given)) {
        // A daemon whose configuration has become bad since still runs with the old one.
        return print_status(config ? config->socket : agent::Config{}.socket, json);
    }
    if (!config) {
        return fail(config.error());
    }
    if (only_check) {
        for (const auto& file : config->files) {
            std::cout << file << ": ok\n";
        }
        if (config->files.empty()) {
            std::cout << config_path << " is not there: defaults\n";
        }
        return 0;
    }
    config->verbose = verbose;
    return agent::Agent(std::move(*config), paths).run();
} catch (const std::exception& error) {
    std::cerr << "acma-agent: " << error.what() << "\n";
    return 1;
}
