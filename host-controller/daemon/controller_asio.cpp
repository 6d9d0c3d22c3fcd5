// SPDX-License-Identifier: Apache-2.0
#include "host-controller/daemon/controller_asio.h"

#include <chrono>
#include <functional>
#include <utility>

#include "host-controller/daemon/log.h"
#include "host-controller/meter/sqlite_store.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "platform/service.h"

namespace acma::host {

namespace {
// Decisions once a second; half of the watchdog's least sensible time.
constexpr std::chrono::milliseconds k_beat{1000};

// A VM whose libvirt call hangs stays held: the next run lets it go.
constexpr std::chrono::seconds k_let_go_within{3};

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

std::function<void(bool warning, const std::string& text)> say(const spdlog::logger& log,
                                                               const std::string& part,
                                                               const ControllerConfig& config) {
    return [log = log_of(log, part, config.log_levels)](bool warning, const std::string& text) {
        log->log(warning ? spdlog::level::warn : spdlog::level::info, text);
    };
}
}  // namespace

// Members are built in the order of their declaration: what the fleet uses is there before it. The
// other threads only post, and what they post runs when everything is built.
Controller::Controller(asio::io_context& context, const ControllerConfig& config, bool dry_run,
                       const std::shared_ptr<spdlog::logger>& log)
    : context_(context),
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
      wake_(context),
      stop_by_(context),
      fleet_(
          Fleet::Settings{config.rules, config.host_reserve, config.swap_out_limit, dry_run,
                          config.guest_agents, config.hold_with_memory_high},
          Fleet::Outside{
              hypervisor_, agents_, host_memory_, read_clocks, say(*log, "vms", config),
              [this](Micros delay) {
                  wake_.expires_after(delay);
                  wake_.async_wait([this](boost::system::error_code cancelled) {
                      if (!cancelled) {
                          fleet_.on_wake();
                      }
                  });
              },
              config.decision_log.empty() ? nullptr : std::function([this](arbiter::Record record) {
                  decisions_->add(std::move(record));
              })}),
      ledger_(
          std::make_unique<SqliteStore>(
              SqliteStore::Options{config.usage_database, config.usage_retention, boot_id()}),
          [this](std::function<void()> work) { asio::post(context_, std::move(work)); },
          say(*log, "metering", config)),
      meter_(ledger_,
             [] {
                 const Now now = read_clocks();
                 return Moment{now.mono, now.wall};
             }),
      http_(
          context,
          [this](const ApiRequest& request, const Respond& respond) {
              handle_request({fleet_, meter_, charts_, read_clocks}, request, respond);
          },
          [log = say(*log, "api", config)](const std::string& text) { log(false, text); }),
      heartbeat_(context, k_beat, [this] { beat(); }) {
    if (!config.decision_log.empty()) {
        decisions_.emplace(
            config.decision_log, config.decision_log_size,
            [this](std::function<void()> work) { asio::post(context_, std::move(work)); },
            say(*log, "decisions", config));
    }
}

Status Controller::serve(ExclusiveSocket& socket, const ControllerConfig& config) {
    http_.serve_unix(socket.release_listener());
    if (!config.listen) {
        return {};
    }
    std::vector<std::string> names = config.listen_names;
    names.push_back(asio::ip::host_name());
    return http_.serve_tcp(*config.listen, std::move(names));
}

void Controller::stop() {
    stop_by_.expires_after(k_let_go_within);
    stop_by_.async_wait([this](boost::system::error_code cancelled) {
        if (!cancelled) {
            context_.stop();
        }
    });
    fleet_.end([this] { context_.stop(); });
}

void Controller::beat() {
    host_reader_.read(fleet_.host(), fleet_.host_counters(), platform::now());
    host_memory_.relieve(platform::now());
    fleet_.tick();
    charts_.observe(fleet_.vms(), fleet_.host(), platform::now());
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
