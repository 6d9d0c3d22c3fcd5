// SPDX-License-Identifier: Apache-2.0
#include "host-controller/daemon/controller_asio.h"

#include <chrono>
#include <functional>
#include <utility>

#include "platform/clock.h"
#include "platform/service.h"

namespace acma::host {

namespace {
// Decisions once a second; half of the watchdog's least sensible time.
constexpr std::chrono::milliseconds k_beat{1000};

Now read_clocks() {
    return Now{platform::now(), std::chrono::duration_cast<Micros>(
                                    std::chrono::system_clock::now().time_since_epoch())};
}
}  // namespace

// Members are built in the order of their declaration: what the fleet uses is there before it. The
// other threads only post, and what they post runs when everything is built.
Controller::Controller(asio::io_context& context, const ControllerConfig& config, bool dry_run,
                       std::shared_ptr<spdlog::logger> log)
    : context_(context),
      log_(std::move(log)),
      agents_(context,
              [this](const VmId& vm, const AgentEvent& event) { fleet_.on_agent(vm, event); }),
      host_memory_(ProcRoots{}, PaceLimits{},
                   [this](const VmId& vm, const Result<HostBytes>& bytes) {
                       asio::post(context_, [this, vm, bytes] { fleet_.on_host_bytes(vm, bytes); });
                   }),
      hypervisor_(
          LibvirtHypervisor::Options{config.connect, config.channels},
          [this](HypervisorEvent event) {
              asio::post(context_,
                         [this, event = std::move(event)] { fleet_.on_hypervisor(event); });
          },
          [this](std::function<void()> work) { asio::post(context_, std::move(work)); }),
      fleet_(Fleet::Settings{config.rules, config.host_reserve, dry_run},
             Fleet::Outside{hypervisor_, agents_, host_memory_, read_clocks,
                            [this](bool warning, const std::string& text) {
                                log_->log(warning ? spdlog::level::warn : spdlog::level::info,
                                          text);
                            }}),
      http_(
          context,
          [this](const ApiRequest& request, const Respond& respond) {
              handle_request(fleet_, request, respond);
          },
          [this](const std::string& text) { log_->info(text); }),
      heartbeat_(context, k_beat, [this] { beat(); }) {}

Status Controller::serve(ExclusiveSocket& socket, const std::optional<TcpEndpoint>& listen) {
    http_.serve_unix(socket.release_listener());
    return listen ? http_.serve_tcp(*listen) : Status();
}

void Controller::beat() {
    host_reader_.read(fleet_.host(), platform::now());
    host_memory_.relieve(platform::now());
    fleet_.tick();
    // Sent by the reactor itself: if it hangs, systemd restarts us.
    platform::notify_service("WATCHDOG=1");
}

}  // namespace acma::host
