// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/agent.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <thread>

#include <poll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>

#include "platform/clock.h"
#include "platform/psi_trigger.h"
#include "platform/service.h"

namespace acma::agent {

namespace {

// systemd reads the level from the <N> prefix (sd-daemon(3)).
void log(int level, const std::string& text) {
    (void)std::fprintf(stderr, "<%d>%s\n", level, text.c_str());
}

Result<platform::Fd> block_signals() {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);  // of a terminal that closes; under nohup none comes
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
        return error_from_errno(errno, "block signals");
    }
    (void)std::signal(SIGPIPE, SIG_IGN);
    platform::Fd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) {
        return error_from_errno(errno, "signalfd");
    }
    return fd;
}

int poll_timeout_ms(Micros left) {
    return static_cast<int>(std::clamp<int64_t>((left.count() + 999) / 1000, 0, 60'000));
}

// DAMON may be somebody else's for now.
constexpr Micros k_try_reclaimer_again = Seconds(30);
// What else is missing will hardly come.
constexpr Micros k_try_reclaimer_most = Seconds(600);
// A module may be loaded after the agent.
constexpr Micros k_look_for_shim_again = Seconds(30);
// A host that a guest was moved to, or went back on, may hold memory for what is owned. It says so
// by its policy; the guest cannot see where nobody does.
constexpr Micros k_report_again_after = Seconds(600);
constexpr Micros k_report_again_least = Seconds(30);
constexpr int k_listen_tries = 50;
constexpr Millis k_listen_pause{200};
constexpr Micros k_coldness_age = Seconds(10);  // of what is known of used memory

const char* problem_word(ErrorCode code) {
    switch (code) {
        case ErrorCode::permission:
            return "no-permission";
        case ErrorCode::busy:
            return "damon-busy";
        case ErrorCode::unsupported:
            return "no-damon";
        default:
            return "page-out-failed";
    }
}

}  // namespace

Agent::Agent(Config config, Paths paths)
    : config_(std::move(config)),
      paths_(std::move(paths)),
      started_(platform::now()),
      sampler_(paths_.proc, problems_),
      channels_(config_.channel, config_.socket, proto::own_info(ACMA_VERSION), problems_) {}

int Agent::run() {
    const auto signals = block_signals();
    if (!signals) {
        log(3, signals.error().message);
        return 1;
    }
    // Two would switch each other's page-out off. One that was just killed may still be going.
    Status listens = channels_.listen();
    for (int i = 0; i < k_listen_tries && !listens && listens.error().code == ErrorCode::busy;
         ++i) {
        std::this_thread::sleep_for(k_listen_pause);
        listens = channels_.listen();
    }
    if (!listens && listens.error().code == ErrorCode::busy) {
        log(3, listens.error().message);
        return 1;
    }
    for (const auto& problem : problems_) {
        log(4, problem.what + ": " + problem.message);
    }
    if (const Status status = bring_back({paths_.memory_blocks, paths_.offline_record}); !status) {
        set_problem("memory-offline", status.error().message);
    }
    listen();
    open_reclaimer(platform::now());
    if (const auto seen = sampler_.observe()) {
        if (const auto policy = standalone_policy(config_, seen->meminfo.total)) {
            adopt_policy(*policy, PolicySource::config, 0, platform::now());
        }
    }
    // What watches memory must not wait for memory. Only what was touched is kept.
    if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
        log(4, error_from_errno(errno, "mlockall").message + "; the agent itself may be paged out");
    }
    platform::notify_service("READY=1\nSTATUS=watching");
    const auto watchdog = platform::watchdog_interval();
    Time watchdog_at = platform::now();

    for (;;) {
        Time now = platform::now();
        const bool pressed = fired_;
        if (now >= step_at_ || pressed) {
            step(now);
            now = platform::now();
        }
        if (now >= scale_at_ || pressed) {
            scale(now, pressed);
            now = platform::now();
        }
        if (deadman_ && decision_.page_out && now >= alive_at_) {
            deadman_->alive();
            alive_at_ = now + Millis(k_heartbeat_ms);
        }
        if (watchdog && now >= watchdog_at) {
            platform::notify_service("WATCHDOG=1");
            watchdog_at = now + *watchdog;
        }

        std::vector<pollfd> fds;
        fds.push_back({.fd = signals->get(), .events = POLLIN, .revents = 0});
        fds.push_back({.fd = trigger_ ? trigger_.get() : -1, .events = POLLPRI, .revents = 0});
        fds.push_back({.fd = scaler_ ? scaler_->fd() : -1, .events = POLLPRI, .revents = 0});
        channels_.add_to(fds, now);
        Micros left = std::min(step_at_, scale_at_) - now;
        left = std::min(left, channels_.look_again_in(now).value_or(left));
        if (decision_.page_out) {
            left = std::min(left, alive_at_ - now);
        }
        if (watchdog) {
            left = std::min(left, watchdog_at - now);
        }
        if (::poll(fds.data(), fds.size(), poll_timeout_ms(left)) < 0 && errno != EINTR) {
            log(3, error_from_errno(errno, "poll").message);
            return 1;
        }
        if (fds[0].revents != 0) {
            break;
        }
        if ((fds[1].revents & POLLPRI) != 0) {
            // First stop, then think: every millisecond counts here and nothing is lost by it.
            fired_ = true;
            stop_at_once();
        }
        if ((fds[2].revents & POLLPRI) != 0) {
            scale_at_ = platform::now();  // the shim has news: a target, an OOM, reclaim began
        }
        now = platform::now();
        channels_.serve(
            fds,
            [this, now](const proto::Command& command, Peer peer) {
                return answer(command, peer, now);
            },
            now);
    }
    platform::notify_service("STOPPING=1");
    scaler_.reset();
    reclaimer_.reset();  // the kdamond is off and gone before the dead-man goes
    deadman_.reset();
    return 0;
}

void Agent::open_reclaimer(Time now) {
    if (!sampler_.has_psi()) {
        reclaimer_at_ = Time::max();
        // Found by the sampler, and said already.
        no_reclaimer_ = *std::find_if(problems_.begin(), problems_.end(),
                                      [](const Problem& p) { return p.what == "no-psi"; });
        return;
    }
    auto reclaimer = Reclaimer::open(paths_.reclaimer);
    if (!reclaimer) {
        reclaimer_rest_ = reclaimer.error().code == ErrorCode::busy
                              ? k_try_reclaimer_again
                              : std::clamp<Micros>(reclaimer_rest_ * 2, k_try_reclaimer_again,
                                                   k_try_reclaimer_most);
        reclaimer_at_ = now + reclaimer_rest_;
        const Problem why{problem_word(reclaimer.error().code),
                          reclaimer.error().message +
                              "; nothing is paged out, status and the host's balloon work"};
        if (why.what != no_reclaimer_.what) {
            clear_problem(no_reclaimer_.what);
        }
        no_reclaimer_ = why;
        set_problem(why.what, why.message);
        return;
    }
    clear_problem(no_reclaimer_.what);
    loop_ = {};  // what it has done so far it has done to nothing
    reclaimer_ = std::move(*reclaimer);
    deadman_.emplace(paths_.deadman, reclaimer_->state_file());
}

void Agent::step(Time now) {
    const auto seen = sampler_.observe();
    if (seen) {
        seen_ = *seen;
        ++sequence_;
        if (seen_.meminfo.total > Bytes(0) && seen_.meminfo.swap_total == Bytes(0)) {
            set_problem("no-swap",
                        "the guest has no swap: only clean file pages can be paged out; add a swap "
                        "disk or zram to page out anonymous memory");
        } else {
            clear_problem("no-swap");
        }
    }
    listen();
    if (!reclaimer_ && now >= reclaimer_at_) {
        open_reclaimer(now);
    }
    const bool fired = std::exchange(fired_, false);
    if (!seen) {
        // Old numbers would look like no pressure at all.
        decision_ =
            autoscale::Decision{.state = AgentState::degraded,
                                .next_step = autoscale::k_calm_step,
                                .reason = "nothing is paged out unseen: " + seen.error().message};
        act();
    } else if (!policy_) {
        decision_ = autoscale::Decision{
            .state = problems_.empty() ? AgentState::starting : AgentState::degraded,
            .next_step = autoscale::k_calm_step,
            .reason = "no policy yet"};
    } else {
        autoscale::Sample sample;
        sample.psi_some_total = seen_.psi_some_total;
        sample.swap_in_total = seen_.vmstat.swap_in_total;
        sample.swap_out_total = seen_.vmstat.swap_out_total;
        sample.refault_file_total = seen_.vmstat.refault_file_total;
        sample.oom_kills_total = seen_.vmstat.oom_kills_total;
        sample.mem_total = seen_.meminfo.total;
        sample.mem_available = seen_.meminfo.available;
        sample.mem_free = seen_.meminfo.free;
        sample.swap_free = seen_.meminfo.swap_free;
        sample.rate_most = rate_most_;
        sample.trigger_fired = fired;
        if (reclaimer_) {
            const auto report = reclaimer_->report();
            sample.counted_at = report.counted_at;
            sample.applied_total = report.applied_total;
            sample.tried_total = report.tried_total;
            sample.full_windows_total = report.full_windows_total;
            sample.aggregations_total = report.aggregations_total;
            sample.aggregation = report.aggregation;
            sample.accessed_total = report.accessed_total;
            sample.idled_total = report.idled_total;
        }
        decision_ = autoscale::step(*policy_, sample, loop_, now);
        act();
    }
    say(decision_);
    step_at_ = now + decision_.next_step;
}

void Agent::open_scaler(Time now) {
    scaler_at_ = now + k_look_for_shim_again;
    auto scaler = Scaler::open(paths_.shim, paths_.memory_blocks);
    if (!scaler) {
        // Without it free page reporting gives memory back: nothing is missing that was promised.
        if (scaler.error().code != ErrorCode::not_found) {
            set_problem("no-shim",
                        scaler.error().message + "; nothing is taken in blocks, page-out works");
        }
        return;
    }
    clear_problem("no-shim");
    log(6, "the balloon shim is there: memory is taken and given back in blocks");
    scaling_loop_ = {};
    reported_at_ = now;
    report_again_at_ = now + k_report_again_after;
    scaler_ = std::move(*scaler);
    if (config_.scaling == Config::Scaling::power_saving) {
        save_power();
    }
}

void Agent::save_power() {
    const auto state = scaler_->observe();
    auto saver = PowerSaver::open({paths_.memory_blocks, paths_.offline_record});
    if (!saver || (state && state->has_device)) {
        set_problem("no-power-saving",
                    (saver ? "there is a balloon device: the host has what is taken"
                           : saver.error().message) +
                        "; no memory goes offline");
        return;
    }
    clear_problem("no-power-saving");
    scaler_->save_power(std::move(*saver));
}

void Agent::scale(Time now, bool pressed) {
    scale_at_ = now + scaling::k_resting_step;
    if (!scaler_ && now >= scaler_at_) {
        open_scaler(now);
    }
    if (!scaler_) {
        return;
    }
    const auto balloon = scaler_->observe();
    const auto seen = sampler_.observe();
    if (!balloon || !seen) {
        if (!balloon) {
            log(4, balloon.error().message + "; looking for the shim again");
            scaler_.reset();
            balloon_ = {};
        }
        return;
    }
    balloon_ = *balloon;
    if (balloon_.owned > Bytes(0) && now >= report_again_at_) {
        scaler_->report_again();
        reported_at_ = now;
        report_again_at_ = now + k_report_again_after;
    }
    if (!policy_) {
        return;
    }
    const scaling::Sample sample{.ram = balloon_.ram,
                                 .owned = balloon_.owned,
                                 .voluntary = balloon_.voluntary,
                                 .asked = balloon_.asked,
                                 .floor = balloon_.floor,
                                 .mem_free = seen->meminfo.free,
                                 .mem_available = seen->meminfo.available,
                                 .psi = autoscale::psi_share(loop_, autoscale::k_psi_window),
                                 .pressed = pressed,
                                 .holding = decision_.state == AgentState::holding,
                                 .had_all = scaler_->report().had_all};
    const scaling::Action before = scaling_.action;
    scaling_ = scaling::step(*policy_, sample, scaling_loop_, now);
    if (const Status status = scaler_->order(scaling_, coldness(now)); !status) {
        set_problem("no-shim", status.error().message);
    }
    if (config_.verbose || scaling_.action != before) {
        log(6, "scaling: " + scaling_.reason);
    }
    if (scaling_.at_grant) {
        channels_.tell_host(proto::k_event_at_grant, now);
    }
    scale_at_ = now + scaling_.next_step;
}

// Only worth its price while used memory is moved about.
std::shared_ptr<const scaling::Coldness> Agent::coldness(Time now) {
    if (!reclaimer_ || !scaler_->report().migrates) {
        return coldness_;
    }
    const auto report = reclaimer_->report();
    if (report.seen && report.seen_at != cold_at_) {
        coldness_ = std::make_shared<const scaling::Coldness>(*report.seen);
        cold_at_ = report.seen_at;
        if (config_.verbose) {
            log(6, "coldness: " + std::to_string(report.seen->regions.size()) + " regions of " +
                       human(report.seen->total) + ", " +
                       human(damon::cold(*report.seen, Seconds(10))) + " idle for 10 s");
        }
    }
    if (now - cold_at_ >= k_coldness_age) {
        reclaimer_->look();
    }
    return coldness_;
}

void Agent::stop_at_once() {
    if (reclaimer_ && decision_.page_out) {
        if (const Status status = reclaimer_->stop_now(); !status) {
            log(3, status.error().message);
        }
    }
}

void Agent::act() {
    if (!reclaimer_) {
        const bool wanted = policy_ && policy_->mode == Mode::automatic;
        if (wanted && decision_.state != AgentState::degraded) {  // else: for another reason
            decision_.state = AgentState::degraded;
            decision_.page_out = false;
            decision_.reason = no_reclaimer_.message;
        }
        return;
    }
    if (decision_.page_out) {
        if (const Status status = deadman_->ensure_running(); !status) {
            decision_.state = AgentState::degraded;
            decision_.page_out = false;
            decision_.reason = "nothing is paged out without a dead-man: " + status.error().message;
        } else {
            deadman_->alive();
        }
    }
    const Status ordered = reclaimer_->order(decision_);
    if (const auto failed = reclaimer_->report().error; failed && decision_.page_out) {
        decision_.state = AgentState::degraded;
        decision_.reason = "page-out failed and is tried again: " + failed->message;
    }
    // A stop that failed is tried again at the next step; until then the dead-man stays on guard.
    if (!decision_.page_out && ordered) {
        deadman_->disarm();
    }
}

void Agent::adopt_policy(const Policy& policy, PolicySource source, uint64_t generation, Time now) {
    const Policy wanted = source == PolicySource::host ? gentler(policy, config_) : policy;
    if (policy_ != wanted || source_ != source || generation_ != generation) {
        policy_ = wanted;
        source_ = source;
        generation_ = generation;
        step_at_ = now;
        log(6, "policy from " + std::string(to_string(source)) + ": " + describe(wanted));
    }
    arm_trigger();
}

void Agent::listen() {
    if (const Status status = channels_.listen(); !status) {
        set_problem("no-socket", status.error().message + "; acma-agent status cannot ask");
    } else {
        clear_problem("no-socket");
    }
}

void Agent::arm_trigger() {
    const autoscale::Trigger wanted = autoscale::trigger_for(policy_->psi);
    if (!sampler_.has_psi() || (trigger_ && wanted == armed_)) {
        return;
    }
    auto trigger =
        platform::open_psi_trigger(paths_.proc + "/pressure/memory", wanted.stall, wanted.window);
    if (!trigger) {
        set_problem("no-trigger",
                    trigger.error().message + "; pressure is only seen at each step of the loop");
        return;
    }
    clear_problem("no-trigger");
    trigger_ = std::move(*trigger);
    armed_ = wanted;
}

proto::Outcome Agent::answer(const proto::Command& command, Peer peer, Time now) {
    if (const auto* set = std::get_if<proto::SetPolicy>(&command)) {
        if (peer != Peer::host) {
            return proto::Failure{std::string(proto::k_generic_error),
                                  "only the host sets the policy"};
        }
        // The policy that came last counts, whatever its number: a host's clock may go back.
        grant_ = set->grant;
        adopt_policy(set->policy, PolicySource::host, set->generation, now);
        report_again_at_ = std::min(report_again_at_, reported_at_ + k_report_again_least);
        return proto::Return(
            proto::PolicyInForce{.generation = generation_, .policy = *policy_, .grant = grant_});
    }
    if (const auto* limits = std::get_if<proto::SetLimits>(&command)) {
        if (peer != Peer::host) {
            return proto::Failure{std::string(proto::k_generic_error), "only the host sets limits"};
        }
        rate_most_ = limits->swap_out_per_s;
        return proto::Return(proto::Empty{});
    }
    if (std::holds_alternative<proto::GetStatus>(command)) {
        return proto::Return(status(now));
    }
    return proto::Failure{std::string(proto::k_command_not_found), "not a command of this agent"};
}

AgentStatus Agent::status(Time now) const {
    AgentStatus status;
    status.agent_version = ACMA_VERSION;
    status.sequence = sequence_;
    status.uptime = now - started_;
    status.state = decision_.state;
    status.reason = decision_.reason;
    status.policy = policy_.value_or(Policy{});
    status.policy_source = source_;
    status.policy_generation = generation_;
    status.mem_total = seen_.meminfo.total;
    status.mem_free = seen_.meminfo.free;
    status.mem_available = seen_.meminfo.available;
    status.swap_total = seen_.meminfo.swap_total;
    status.swap_free = seen_.meminfo.swap_free;
    status.swap_in_total = seen_.vmstat.swap_in_total;
    status.swap_out_total = seen_.vmstat.swap_out_total;
    status.refault_total = seen_.vmstat.refault_anon_total + seen_.vmstat.refault_file_total;
    status.oom_kills_total = seen_.vmstat.oom_kills_total;
    status.psi_some_total = seen_.psi_some_total;
    status.psi = autoscale::psi_share(loop_, Seconds(10));
    status.working_set = autoscale::working_set(loop_).value_or(Bytes(0));
    status.quota_per_s = decision_.page_out ? decision_.rate_per_s : Bytes(0);
    status.owned = balloon_.owned;
    status.voluntary = balloon_.voluntary;
    status.taken_total = balloon_.taken_total;
    status.returned_total = balloon_.freed_total;
    status.scaling = scaler_ ? scaling_.reason : "";
    status.at_grant = scaler_ && scaling_.at_grant;
    status.struct_pages = scaler_ ? platform::describe_released(balloon_) : "";
    status.problems = problems_;
    if (reclaimer_) {
        const auto report = reclaimer_->report();
        status.reclaimed_total = report.applied_total;
        if (report.error) {
            status.problems.push_back({"page-out-failed", report.error->message});
        }
    }
    return status;
}

void Agent::set_problem(const std::string& what, const std::string& message) {
    const auto known = std::find_if(problems_.begin(), problems_.end(),
                                    [&](const Problem& p) { return p.what == what; });
    if (known != problems_.end()) {
        known->message = message;
        return;
    }
    problems_.push_back({what, message});
    log(4, what + ": " + message);
}

void Agent::clear_problem(const std::string& what) {
    if (std::erase_if(problems_, [&](const Problem& p) { return p.what == what; }) > 0) {
        log(6, what + " is no more");
    }
}

void Agent::say(const autoscale::Decision& decision) {
    // On change only: a state is news, each rate in it is not.
    const std::string said(to_string(decision.state));
    if (said != last_said_ || config_.verbose) {
        log(6, said + ": " + decision.reason);
        platform::notify_service("STATUS=" + said + ": " + decision.reason);
        last_said_ = said;
    }
}

}  // namespace acma::agent
