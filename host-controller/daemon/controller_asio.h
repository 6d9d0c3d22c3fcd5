// SPDX-License-Identifier: Apache-2.0
// The daemon: every part, wired to one reactor.
#pragma once

#include <memory>
#include <optional>

#include <spdlog/logger.h>

#include "host-controller/agent_asio/agent_links_asio.h"
#include "host-controller/api_asio/http_server_asio.h"
#include "host-controller/asio.h"
#include "host-controller/chart/charts.h"
#include "host-controller/config/config.h"
#include "host-controller/daemon/heartbeat_asio.h"
#include "host-controller/decisions/decision_log.h"
#include "host-controller/fleet/fleet.h"
#include "host-controller/hostmem/host_reader.h"
#include "host-controller/hostmem/sampler.h"
#include "host-controller/libvirt/libvirt_hypervisor.h"
#include "host-controller/meter/ledger_thread.h"
#include "host-controller/meter/meter.h"

namespace acma::host {

class Controller {
  public:
    Controller(asio::io_context& context, const ControllerConfig& config, bool dry_run,
               const std::shared_ptr<spdlog::logger>& log);

    // Takes requests; call after the rest is up.
    [[nodiscard]] Status serve(ExclusiveSocket& socket, const ControllerConfig& config);

    // Ends the context, once whatever is held by us alone is let go, or soon at the latest.
    void stop();

  private:
    void beat();
    void meter();

    asio::io_context& context_;
    HostReader host_reader_{"/proc"};
    AgentLinksAsio agents_;
    HostMemorySampler host_memory_;
    LibvirtHypervisor hypervisor_;
    asio::steady_timer wake_;
    asio::steady_timer stop_by_;
    std::optional<DecisionLog> decisions_;
    Fleet fleet_;
    LedgerThread ledger_;
    Meter meter_;
    Charts charts_;
    bool metering_ = false;  // what runs is known
    HttpServer http_;
    Heartbeat heartbeat_;
};

}  // namespace acma::host
