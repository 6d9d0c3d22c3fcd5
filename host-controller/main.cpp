// SPDX-License-Identifier: Apache-2.0
// acma-controller: keeps the memory of this host's virtual machines as their policies say.
#include <csignal>
#include <cstdio>
#include <exception>

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include "engine/base/count.h"
#include "host-controller/daemon/controller_asio.h"
#include "host-controller/daemon/host_lock.h"
#include "host-controller/daemon/log.h"
#include "host-controller/daemon/options.h"
#include "platform/service.h"

namespace acma::host {
namespace {

constexpr unsigned k_stop_within_s = 5;

int complain(const Error& error) {
    std::fprintf(stderr, "acma-controller: %s\n", error.message.c_str());
    return 1;
}

int run(const DaemonOptions& options) {
    const Result<ControllerConfig> config = configure(options);
    if (!config) {
        return complain(config.error());
    }
    if (options.check_config) {
        for (const std::string& file : config->files) {
            std::printf("%s: ok\n", file.c_str());
        }
        if (config->files.empty()) {
            std::printf("%s is not there: defaults\n", options.config_path.c_str());
        }
        std::printf("%s\n", counted(config->rules.size(), "rule").c_str());
        return 0;
    }
    const Result<HostLock> lock = HostLock::take(config->connect, HostLock::k_path);
    if (!lock) {
        return complain(lock.error());
    }
    Result<ExclusiveSocket> socket = ExclusiveSocket::open(config->socket, config->socket_group);
    if (!socket) {
        return complain(socket.error());
    }
    const auto log = make_log(config->log_level);
    asio::io_context context(1);
    asio::signal_set signals(context, SIGINT, SIGTERM);
    struct sigaction hangup {};
    if (::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) {
        signals.add(SIGHUP);  // of a terminal that closes; nohup ignores it
    }
    {
        Controller controller(context, *config, options.dry_run, log);
        signals.async_wait([&controller](boost::system::error_code, int) { controller.stop(); });
        if (const Status served = controller.serve(*socket, *config); !served) {
            return complain(served.error());
        }
        log->info("acma-controller {} manages {}{}", ACMA_VERSION, config->connect,
                  options.dry_run ? " (dry run: nothing is written)" : "");
        platform::notify_service("READY=1");
        context.run();
        platform::notify_service("STOPPING=1");
        log->info("stopped; the VMs keep what they have");
        // A libvirt call to a QEMU that hangs cannot be called back: end without it.
        std::signal(SIGALRM, [](int) { ::_exit(0); });
        ::alarm(k_stop_within_s);
    }
    return 0;
}

}  // namespace
}  // namespace acma::host

int main(int argc, char** argv) {
    // A client that goes away while it is answered must not end the daemon.
    std::signal(SIGPIPE, SIG_IGN);
    // What one thread makes another frees (events, facts of domains): with an arena for each
    // thread the freed pieces are of use to nobody. And what is free at the end goes back early.
    ::mallopt(M_ARENA_MAX, 1);
    ::mallopt(M_TRIM_THRESHOLD, 256 * 1024);
    try {
        int exit_code = 0;
        const auto options = acma::host::parse_options(argc, argv, exit_code);
        return options ? acma::host::run(*options) : exit_code;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "acma-controller: %s\n", error.what());
        return 1;
    }
}
