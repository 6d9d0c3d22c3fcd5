// SPDX-License-Identifier: Apache-2.0
// A connection to each VM's agent over the unix socket of its channel, with back-off. A guest that
// is silent, floods or dribbles costs its own link some memory, and the others a thousandth of a
// core.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "host-controller/asio.h"
#include "host-controller/ports.h"

namespace acma::host {

class AgentLinksAsio final : public AgentLinks {
  public:
    using Sink = std::function<void(const VmId&, const AgentEvent&)>;

    // `context` outlives this; the sink is called from it, never from within talk() or leave().
    AgentLinksAsio(asio::io_context& context, Sink sink);
    ~AgentLinksAsio() override;
    AgentLinksAsio(const AgentLinksAsio&) = delete;
    AgentLinksAsio& operator=(const AgentLinksAsio&) = delete;

    void talk(const VmId& vm, const TalkToAgent& order) override;
    void leave(const VmId& vm) override;
    [[nodiscard]] Micros cost(const VmId& vm) const override;

  private:
    struct Desk;
    class Link;
    const std::shared_ptr<Desk> desk_;
    std::map<VmId, std::shared_ptr<Link>> links_;
};

}  // namespace acma::host
