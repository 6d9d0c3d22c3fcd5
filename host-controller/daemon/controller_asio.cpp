// SPDX-License-Identifier: Apache-2.0
#include "host-controller/daemon/controller_asio.h"

#include <chrono>
#include <functional>
#include <utility>

#include "host-controller/meter/sqlite_store.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "platform/service.h"

namespace acma::host {

namespace {
// Decisions once a second; half of the watchdog's least sensible time.
constexpr std::chrono::milliseconds k_beat{1000};

Now read_clocks() {
    return Now{platform::now(), std::chrono::duration_cast<Micros>(
                                    std::chrono::system_clock::now().time_since_epoch())};
}

// Where it cannot be read, no boot is like another.
std::string boot_id() {
    const auto text = platform::read_file("/proc/sys/kernel/random/boot_id");
    return text ? text->substr(0, text->find('\n'))
                : "unknown at " + std::to_string(read_clocks().wall.count());
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
          LibvirtHypervisor::Options{config.connect, config.channels, metadata_paths(config.rules)},
          [this](HypervisorEvent event) {
              asio::post(context_,
                         [this, event = std::move(event)] { fleet_.on_hypervisor(event); });
          },
          [this](std::function<void()> work) { asio::post(context_, std::move(work)); }),
      fleet_(Fleet::Settings{config.rules, config.host_reserve, dry_run, config.guest_agents},
             Fleet::Outside{hypervisor_, agents_, host_memory_, read_clocks,
                            [this](bool warning, const std::string& text) {
                                log_->log(warning ? spdlog::level::warn : spdlog::level::info,
                                          text);
                            }}),
      ledger_(
          std::make_unique<SqliteStore>(
              SqliteStore::Options{config.usage_database, config.usage_retention, boot_id()}),
          [this](std::function<void()> work) { asio::post(context_, std::move(work)); },
          [this](bool warning, const std::string& text) {
              log_->log(warning ? spdlog::level::warn : spdlog::level::info, text);
          }),
      meter_(ledger_,
             [] {
                 const Now now = read_clocks();
                 return Moment{now.mono, now.wall};
             }),
      http_(
          context,
          [this](const ApiRequest& request, const Respond& respond) {
              handle_request(fleet_, meter_, request, respond);
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
    meter();
    // Sent by the reactor itself: if it hangs, systemd restarts us.
    platform::notify_service("WATCHDOG=1");
}

// Not before libvirt has said what runs: until then it is not known who is missing.
void Controller::meter() {
    metering_ = metering_ || fleet_.host().libvirt_connected;
    if (!metering_) {
        return;
    }
    std::vector<Reading> readings;
    readings.reserve(fleet_.vms().size());
    for (const auto& [id, vm] : fleet_.vms()) {
        Reading& reading = readings.emplace_back(Reading{id.uuid, vm.facts().name, {}, Bytes(0)});
        if (vm.host_bytes()) {
            reading.host = Reading::Measured{vm.host_bytes()->total(), vm.host_bytes_at()};
        }
        if (vm.policy()) {
            reading.min_mem = vm.policy()->min_mem;
        }
    }
    meter_.observe(readings);
}

}  // namespace acma::host
