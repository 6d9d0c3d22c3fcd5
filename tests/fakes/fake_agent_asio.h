// SPDX-License-Identifier: Apache-2.0
// A scripted agent behind a real unix socket, as QEMU offers a guest's channel: one client at a
// time. It behaves, or misbehaves in one of the ways that a guest can.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/autoscale/status.h"
#include "host-controller/asio.h"
#include "proto/messages.h"

namespace acma::fakes {

enum class Manners {
    honest,
    silent,     // takes everything, answers nothing
    flooding,   // sends replies that nobody asked for as fast as they go
    garbage,    // sends random bytes without an end
    dribbling,  // sends a reply of which one byte a time comes, and never the last
    muttering,  // answers each request with nonsense
    calling,    // answers, and calls by events without an end: that costs more than its bytes tell
    refusing,   // refuses every policy
    stock,      // a qemu-ga: knows nothing of ACMA
};

class FakeAgent {
  public:
    FakeAgent(host::asio::io_context& context, const std::string& path, Manners manners);
    ~FakeAgent();
    FakeAgent(const FakeAgent&) = delete;
    FakeAgent& operator=(const FakeAgent&) = delete;

    // What an honest agent says of its guest; the sequence is counted by the fake.
    AgentStatus status;
    // Last say on each status: how a liar lies.
    std::function<void(AgentStatus&)> lie;
    // Told of each policy that comes.
    std::function<void(const proto::SetPolicy&)> on_policy;

    [[nodiscard]] const std::vector<proto::SetPolicy>& policies() const;
    [[nodiscard]] uint64_t requests() const;
    [[nodiscard]] uint64_t connections() const;
    [[nodiscard]] uint64_t bytes_sent() const;

    void behave(Manners manners);  // from now on
    void hang_up();                // closes the connection, as when QEMU ends

  private:
    struct Line;
    std::shared_ptr<Line> line_;
};

}  // namespace acma::fakes
