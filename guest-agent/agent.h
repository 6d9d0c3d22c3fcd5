// SPDX-License-Identifier: Apache-2.0
// The daemon's loop: observe -> decide -> act, and answering who asks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/autoscale/autoscale.h"
#include "engine/autoscale/status.h"
#include "guest-agent/channel.h"
#include "guest-agent/config.h"
#include "guest-agent/deadman.h"
#include "guest-agent/reclaimer.h"
#include "guest-agent/sampler.h"
#include "guest-agent/scaler.h"
#include "platform/memory_block.h"

namespace acma::agent {

struct Paths {
    std::string proc = "/proc";
    std::string deadman = "/usr/libexec/acma-deadman";
    std::string shim = "/dev/acma";
    std::string memory_blocks = platform::k_memory_dir;
    std::string offline_record = "/run/acma-agent/offline";
    ReclaimerPaths reclaimer;
};

class Agent {
  public:
    Agent(Config config, Paths paths);

    // Until SIGTERM or SIGINT. 0, or 1 when nothing at all can be done here.
    [[nodiscard]] int run();

  private:
    void step(Time now);
    void adopt_policy(const Policy& policy, PolicySource source, uint64_t generation, Time now);
    void listen();
    void arm_trigger();
    void open_reclaimer(Time now);
    // Does what decision_ says, or makes it say why that is not possible.
    void act();
    void stop_at_once();
    // The other loop: how much of its memory the guest keeps.
    void scale(Time now, bool pressed);
    void open_scaler(Time now);
    void save_power();
    [[nodiscard]] std::shared_ptr<const scaling::Coldness> coldness(Time now);
    [[nodiscard]] proto::Outcome answer(const proto::Command& command, Peer peer, Time now);
    [[nodiscard]] AgentStatus status(Time now) const;
    void say(const autoscale::Decision& decision);
    // A problem is logged when it appears and when it is gone.
    void set_problem(const std::string& what, const std::string& message);
    void clear_problem(const std::string& what);

    const Config config_;
    const Paths paths_;
    const Time started_;
    std::vector<Problem> problems_;
    Sampler sampler_;
    Channels channels_;
    std::unique_ptr<Reclaimer> reclaimer_;
    Problem no_reclaimer_;  // while there is none: why
    Time reclaimer_at_{};   // when to try again
    Micros reclaimer_rest_{0};
    std::optional<Deadman> deadman_;
    std::unique_ptr<Scaler> scaler_;  // none without the shim
    Time scaler_at_{};                // when to look for it again
    platform::Fd trigger_;
    autoscale::Trigger armed_;

    std::optional<Policy> policy_;
    Bytes grant_;
    std::optional<Bytes> rate_most_;  // the host's limit of page-out
    PolicySource source_ = PolicySource::none;
    uint64_t generation_ = 0;
    bool fired_ = false;  // the trigger, since the last step

    autoscale::State loop_;
    autoscale::Decision decision_;
    scaling::State scaling_loop_;
    scaling::Decision scaling_;
    Time reported_at_{};  // again, to whatever host this is now
    Time report_again_at_{};
    std::shared_ptr<const scaling::Coldness> coldness_;
    Time cold_at_{};  // when it was seen
    platform::BalloonDevice::State balloon_;
    Time scale_at_{};
    Observation seen_;
    uint64_t sequence_ = 0;
    Time step_at_{};
    Time alive_at_{};
    std::string last_said_;
};

}  // namespace acma::agent
