// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/vm.h"

#include <algorithm>
#include <array>
#include <utility>

#include "host-controller/vm/claims.h"
#include "host-controller/vm/left_alone.h"
#include "proto/client_session.h"
#include "proto/text.h"

namespace acma::host {

namespace {
constexpr uint64_t k_balloon_page = 4096;
// The API takes no longer one (docs/protocol.md), and an agent's own may be as long.
constexpr size_t k_longest_reason = 512;
constexpr Micros k_first_balloon_retry{5'000'000};
constexpr Micros k_longest_balloon_retry{300'000'000};
// A calm agent counts a sample every 2 s only: one or two may be late, a third is no coincidence.
constexpr Micros k_stale_after{6'000'000};
// It is asked every second, and one reply may be slow.
constexpr Micros k_untold_after = k_stale_after + proto::k_reply_timeout;
// Host bytes and claims are of different instants while memory moves; what lasts is no accident.
constexpr Micros k_contradiction_lasts{10'000'000};
// libvirt answers in milliseconds, or after 30 s when another job holds the domain.
constexpr Micros k_hangs_after{10'000'000};
// A guest that lied or was costly is watched this long before its mark goes.
constexpr Micros k_forgive_after{60'000'000};

Bytes round_down_to_page(Bytes size) {
    return Bytes(size.count() / k_balloon_page * k_balloon_page);
}

struct ChosenPolicy {
    std::optional<Policy> policy;
    std::string source = "none";
};

// Metadata, else the first rule that matches, else none. The metadata must be readable.
ChosenPolicy policy_for(const DomainFacts& facts, const std::vector<PolicyRule>& rules) {
    if (facts.policy && *facts.policy) {
        return {**facts.policy, "metadata"};
    }
    if (const PolicyRule* rule = match_rule(rules, facts.name, facts.vm.uuid, facts.foreign);
        facts.policy && rule != nullptr) {
        return {rule->policy, "rule " + rule->label};
    }
    return {};
}

// Why a grant is what it is, for people.
std::string_view explain(arbiter::Why why) {
    using arbiter::Why;
    switch (why) {
        case Why::needs:
            return "it needs more, and the host has it";
        case Why::pressed:
            return "it stalls on memory, and the host has more";
        case Why::spare:
            return "nobody else needs that memory now";
        case Why::waits:
            return "others have to give up memory first";
        case Why::others:
            return "others need it more";
        case Why::unused:
            return "it does not use more, and others may need it";
        case Why::strained:
            return "it does not use more, and the host is short of memory";
        case Why::emergency:
            return "it does not access more, and the host stalls on memory";
        case Why::stuck:
            return "its balloon does not follow";
        case Why::keeps:
        case Why::fixed:
            break;
    }
    return "it keeps what it has";
}

BalloonStart balloon_start(const DomainFacts& facts, const std::vector<PolicyRule>& rules) {
    const ChosenPolicy chosen = policy_for(facts, rules);
    BalloonStart start{.ram = facts.ram, .actual = facts.current, .noted = facts.note.target};
    start.start_target = facts.start_target;
    if (chosen.policy && chosen.policy->mode == Mode::automatic) {
        start.wanted = round_down_to_page(std::min(chosen.policy->max_mem, facts.ram));
    }
    return start;
}
}  // namespace

Vm::Vm(VmSettings settings, DomainFacts facts, Now now)
    : settings_(settings),
      facts_(std::move(facts)),
      note_(facts_.note),
      balloon_(balloon_start(facts_, *settings_.rules), now.mono),
      plug_(facts_.note.devices),
      found_at_(now.mono) {
    if (settings_.arbitrated) {
        const Bytes has = balloon_.target() + plugging::sums_of(facts_.memory_devices).requested;
        grant_ = arbiter::Grant{.size = has, .fair = has};
    }
}

Actions Vm::start(Now now) {
    Actions actions;
    actions.emplace_back(MeasureHost{facts_.ram_blocks});
    find_limit(now, actions);
    see_devices(now, actions);
    choose_policy(now, actions);
    if (policy_ && balloon_.ceiling()) {
        mark("foreign-balloon",
             "the balloon stood at " + human(*balloon_.ceiling()) +
                 " when this VM was first seen, set by somebody else: that is its ceiling",
             now, actions);
    }
    return actions;
}

// --- events ---------------------------------------------------------------------------------

Actions Vm::on_domain(DomainFacts facts, bool policy_written, Now now) {
    Actions actions;
    if (facts.ram_blocks != facts_.ram_blocks) {
        actions.emplace_back(MeasureHost{facts.ram_blocks});
    }
    // Whoever wrote it while libvirt was away has written it all the same.
    const bool differs = facts.policy && facts_.policy && *facts.policy != *facts_.policy;
    facts_ = std::move(facts);
    balloon_.set_ram(facts_.ram);
    if ((policy_written || differs) && yielded_) {
        yielded_ = false;
        decided("resume", "the policy was set anew: the balloon is managed again", now, actions);
        unmark("foreign-balloon", now, actions);
    }
    if (const auto move = balloon_.observe(facts_.current, now.mono)) {
        note_foreign_move(*move, now, actions);
    }
    see_devices(now, actions);
    choose_policy(now, actions);
    return actions;
}

Actions Vm::on_balloon(Bytes actual, Now now) {
    Actions actions;
    facts_.current = actual;
    const auto move = balloon_.observe(actual, now.mono);
    if (move) {
        note_foreign_move(*move, now, actions);
    }
    decide_balloon(now, actions);
    if (move) {
        order_agent(now, actions);  // the grant or the mode may have changed with it
    }
    return actions;
}

Actions Vm::on_call(bool runs, Now now) {
    Actions actions;
    calling_since_ = runs ? std::optional(now.mono) : std::nullopt;
    if (!runs) {
        unmark("hypervisor-hangs", now, actions);
    }
    return actions;
}

Actions Vm::on_migration(bool runs, Now now) {
    Actions actions;
    migrates_ = runs;
    if (runs && policy_) {
        mark("migrating",
             "its memory is being copied (migration, save or snapshot): nothing is taken until "
             "that is over",
             now, actions);
    } else {
        unmark("migrating", now, actions);
    }
    decide_balloon(now, actions);
    order_agent(now, actions);
    return actions;
}

Actions Vm::pause(bool paused, Now now) {
    Actions actions;
    paused_ = paused;
    decide_balloon(now, actions);
    order_agent(now, actions);
    return actions;
}

Actions Vm::release(Now now) {
    Actions actions;
    released_ = true;
    decided("release", "released by the operator: it gets all its RAM and is left alone", now,
            actions);
    end_balloon_pause();
    balloon_.end_correction_pause();
    decide_balloon(now, actions);
    decide_plug(now, actions);
    return actions;
}

void Vm::end_balloon_pause() {
    retry_balloon_at_.reset();
    retry_balloon_in_ = Micros(0);
}

Actions Vm::on_balloon_written(const Status& outcome, Bytes target, Now now) {
    Actions actions;
    writing_ = false;
    if (outcome) {
        end_balloon_pause();
        unmark("balloon-refused", now, actions);
        note_target(target, actions);
    } else {
        // Where the connection broke or time ran out, QEMU may have got it before.
        const ErrorCode why = outcome.error().code;
        const bool perhaps = why == ErrorCode::io || why == ErrorCode::timeout;
        balloon_.write_failed(perhaps);
        retry_balloon_in_ =
            std::clamp(retry_balloon_in_ * 2, k_first_balloon_retry, k_longest_balloon_retry);
        retry_balloon_at_ = now.mono + retry_balloon_in_;
        mark("balloon-refused",
             "the balloon target " + human(target) + " was not accepted" +
                 (perhaps ? "" : ", nothing was changed") + ": " + outcome.error().message,
             now, actions);
    }
    decide_balloon(now, actions);
    return actions;
}

Actions Vm::on_host_bytes(const Result<HostBytes>& bytes, Now now) {
    Actions actions;
    if (bytes) {
        host_ = *bytes;
        host_at_ = now.mono;
        unmark("no-host-bytes", now, actions);
    } else {
        host_.reset();
        mark("no-host-bytes",
             "the memory of this VM cannot be measured, claims of its guest are not checked: " +
                 bytes.error().message,
             now, actions);
    }
    return actions;
}

Actions Vm::tick(Now now) {
    Actions actions;
    if (check_left_alone(now, actions)) {
        order_agent(now, actions);
    }
    size_by_statistics(now, actions);
    for (Action& action : on_balloon(facts_.current, now)) {
        actions.push_back(std::move(action));
    }
    if (policy_ && balloon_.stuck(now.mono)) {
        mark("balloon-stuck",
             "the guest does not follow: its balloon target is " + human(balloon_.target()) +
                 ", it stands at " + human(balloon_.actual()) +
                 "; it has no balloon driver, or max-mem is below what it needs",
             now, actions);
    } else {
        unmark("balloon-stuck", now, actions);
    }
    if (!policy_ || !balloon_.rises(now.mono)) {
        unmark("balloon-raised", now, actions);
    }
    if (policy_ && policy_->mode == Mode::automatic && yielded_ &&
        balloon_.actual() > policy_->max_mem + k_balloon_slack) {
        mark("above-max-mem",
             "the balloon stands at " + human(balloon_.actual()) + ", above max-mem " +
                 human(policy_->max_mem) +
                 ", and is left there, since it was set repeatedly without us; max-mem is held "
                 "again once the policy is set anew (acmactl set)",
             now, actions);
    } else {
        unmark("above-max-mem", now, actions);
    }
    if (calling_since_ && now.mono - *calling_since_ >= k_hangs_after) {
        mark("hypervisor-hangs",
             "libvirt has not answered about this domain for " + human(Micros(k_hangs_after)) +
                 " or more; its QEMU may hang",
             now, actions);
    }
    check_age(now, actions);
    decide_plug(now, actions);
    decide_limit(now, actions);
    // Where the VM is left alone its memory is not our business either.
    if (const auto held = returns_.told(now.mono); held && mode_in_force() != Mode::off) {
        mark("not-returned", *held, now, actions);
    } else {
        unmark("not-returned", now, actions);
    }
    forgive("lying", lied_at_, now, actions);
    forgive("costly", costly_at_, now, actions);
    return actions;
}

// --- policy ---------------------------------------------------------------------------------

void Vm::choose_policy(Now now, Actions& actions) {
    if (!facts_.policy) {
        mark("bad-policy",
             facts_.policy.error().message +
                 (policy_ ? ", keeping the previous policy" : ", and there is no previous policy"),
             now, actions);
    } else {
        unmark("bad-policy", now, actions);
        const ChosenPolicy chosen = policy_for(facts_, *settings_.rules);
        if (chosen.policy != policy_ || chosen.source != policy_source_) {
            policy_ = chosen.policy;
            policy_source_ = chosen.source;
            released_ = released_ && policy_ && policy_->mode == Mode::off;
            balloon_.end_correction_pause();
            end_balloon_pause();
            decided("set-policy",
                    policy_ ? "policy from " + policy_source_ + ": " + describe(*policy_)
                            : "the policy was removed: this VM is left alone",
                    now, actions);
        }
    }
    check_left_alone(now, actions);
    decide_balloon(now, actions);
    decide_plug(now, actions);
    order_agent(now, actions);
}

bool Vm::check_left_alone(Now now, Actions& actions) {
    const bool shim =
        claimed_ && (!claimed_->status.scaling.empty() || claimed_->status.owned > Bytes(0));
    const bool answers =
        agent_connected_ && (!facts_.booted_at || agent_up_at_ > *facts_.booted_at);
    const auto reasons = reasons_to_leave_alone(
        facts_, {.has_shim = shim, .agent_answers = answers, .now = now.mono});
    const bool before = std::exchange(left_alone_, !reasons.empty());
    may_hold_all_ = false;
    for (const std::string_view word : k_left_alone_marks) {
        const auto reason = std::find_if(reasons.begin(), reasons.end(),
                                         [word](const auto& each) { return each.mark == word; });
        if (reason == reasons.end() || !policy_ || policy_->mode == Mode::off) {
            unmark(word, now, actions);
        } else {
            mark(word, reason->sentence, now, actions);
        }
        may_hold_all_ = may_hold_all_ || (reason != reasons.end() && reason->may_hold_all);
    }
    return left_alone_ != before;
}

Mode Vm::mode_in_force() const {
    if (!policy_) {
        return Mode::off;
    }
    const bool left_alone = yielded_ || migrates_ || paused_ || left_alone_;
    return policy_->mode == Mode::automatic && left_alone ? Mode::observe : policy_->mode;
}

bool Vm::acts() const {
    return (mode_in_force() == Mode::automatic || released_) && !settings_.dry_run;
}

// --- balloon --------------------------------------------------------------------------------

// What the balloon target should be; nothing where it must be left alone.
std::optional<Bytes> Vm::wanted_target() const {
    if (!policy_ || !facts_.has_balloon) {
        return std::nullopt;
    }
    if (released_) {
        return balloon_.ceiling().value_or(balloon_.ram());
    }
    if (mode_in_force() == Mode::off || left_alone_) {
        return std::nullopt;
    }
    // The balloon does not take what is still to be unplugged: the guest needs that room to move
    // memory into.
    const Bytes plugged = std::min(plug_.sums().requested, goal_of_devices());
    const Bytes floor = std::min(least_boot_memory(), balloon_.ram());
    Bytes most = std::min(policy_->max_mem, balloon_.ram());
    if (grant_) {
        most = std::min(most, grant_->size - plugged);
    }
    if (const auto size = statistics_.decision().size) {
        most = std::min(most, *size - plugged);
    }
    const Bytes wanted = std::max(round_down_to_page(most), floor);
    if (balloon_.ceiling() && *balloon_.ceiling() < floor) {
        return std::nullopt;  // somebody else has set it lower than we ever would
    }
    return std::min(wanted, balloon_.ceiling().value_or(wanted));
}

void Vm::decide_balloon(Now now, Actions& actions) {
    const std::optional<Bytes> wanted = wanted_target();
    if (!wanted) {
        told_target_.reset();
    }
    if (writing_) {
        return;
    }
    const bool acts = this->acts();
    if (!wanted || !acts) {
        unmark("balloon-refused", now, actions);  // it is not asked for any more
    }
    if (!wanted || balloon_.must_wait(now.mono)) {
        return;
    }
    const Bytes from = balloon_.asked() ? balloon_.actual() : balloon_.target();
    const Bytes change = *wanted > from ? *wanted - from : from - *wanted;
    const bool in_force = balloon_.written() ? *balloon_.written() == *wanted
                                             : !balloon_.asked() && change <= k_balloon_slack;
    if (in_force) {
        if (acts && balloon_.written()) {  // noted already, unless libvirt did not confirm it
            note_target(*balloon_.written(), actions);
        }
        told_target_.reset();
        unmark("balloon-refused", now, actions);
        return;
    }
    if (retry_balloon_at_ && now.mono < *retry_balloon_at_) {
        return;
    }
    if (!acts && told_target_ == wanted) {
        return;
    }
    told_target_ = acts ? std::nullopt : wanted;
    const std::string direction = *wanted < from ? "shrink" : "grow";
    const Bytes plugged = std::min(plug_.sums().requested, goal_of_devices());
    std::string bound = "max-mem is " + human(policy_->max_mem);
    if (balloon_.ceiling() == wanted) {
        bound = "somebody else's target " + human(*wanted) + " is the ceiling";
    } else if (policy_->max_mem >= balloon_.ram()) {
        bound = "max-mem " + human(policy_->max_mem) + " leaves it all its RAM";
    }
    if (released_) {
        bound = "it was released (acmactl release)";
    } else if (const auto size = statistics_.decision().size;
               size && *wanted == round_down_to_page(*size - plugged)) {
        bound = explain(statistics_.decision());
    } else if (grant_ && *wanted == round_down_to_page(grant_->size - plugged) &&
               *wanted < policy_->max_mem) {
        bound = std::string(explain(grant_->why)) + " (its part of the host is " +
                human(grant_->fair) + ")";
    }
    decided(
        acts ? direction : "would-" + direction,
        bound + ": the balloon target " + (acts ? "goes" : "would go") + " from " + human(from) +
            " to " + human(*wanted) +
            (acts                ? ""
             : settings_.dry_run ? " (dry run)"
                                 : " (observe)"),
        now, actions,
        {{"from_bytes", from.count()},
         {"to_bytes", wanted->count()},
         {"actual_bytes", balloon_.actual().count()},
         {"ram_bytes", balloon_.ram().count()},
         {"max_mem_bytes", policy_->max_mem.count()}},
        // A guest that moves its balloon again and again causes one of these each time.
        balloon_.rises(now.mono) || yielded_ ? History::Cause::guest : History::Cause::decision);
    if (!acts) {
        return;
    }
    actions.emplace_back(WriteBalloon{*wanted});
    writing_ = true;
    balloon_.wrote(*wanted, now.mono);
    order_agent(now, actions);  // the grant has moved with it
}

void Vm::note_foreign_move(const ForeignMove& move, Now now, Actions& actions) {
    if (!policy_) {
        return;  // this VM is not ours to comment on
    }
    std::string sentence =
        "the balloon went from " + human(move.from) + " to " + human(move.to) + " without us: ";
    if (move.raised) {
        sentence += std::string("above our target") + (acts() ? ", which is set again" : "");
        noticed("balloon-raised", sentence, now);  // by the guest itself, as often as it likes
        mark("balloon-raised", sentence, now, actions);
        if (!balloon_.ceiling()) {
            unmark("foreign-balloon", now, actions);
        }
        return;
    }
    // Three moves down and we yield; of all others a guest can make as many as it likes.
    const bool few = !yielded_ && !move.cut && move.to < move.from;
    yielded_ = yielded_ || (move.repeated && mode_in_force() == Mode::automatic);
    sentence += "it was set by somebody else and counts as a ceiling";
    if (yielded_) {
        sentence += "; repeated, so this VM is only observed until its policy is set anew";
    }
    std::map<std::string, uint64_t> numbers{{"from_bytes", move.from.count()},
                                            {"to_bytes", move.to.count()}};
    if (few) {
        decided("foreign-balloon", sentence, now, actions, std::move(numbers));
    } else {
        tell(false, sentence, now, actions);
        noticed("foreign-balloon", sentence, now, std::move(numbers));
    }
    if (balloon_.ceiling() || yielded_) {
        marks_["foreign-balloon"] = sentence;
    } else {
        unmark("foreign-balloon", now, actions);
    }
}

// --- agent ----------------------------------------------------------------------------------

// The grant on the wire: the balloon target and what may be plugged, inside the policy's bounds.
Bytes Vm::grant() const {
    return std::clamp(wanted_target().value_or(balloon_.target()) + plug_.sums().requested,
                      policy_->min_mem, policy_->max_mem);
}

std::optional<PolicyOrder> Vm::policy_for_agent() const {
    if (settings_.dry_run) {
        return std::nullopt;
    }
    if (policy_) {
        PolicyOrder order{*policy_, grant(), 0};
        order.policy.mode = mode_in_force();
        return order;
    }
    return withdrawal();
}

// An earlier run of ours told the agent to act, and the policy was removed since. Metadata that
// cannot be read is no removal.
bool Vm::must_withdraw() const {
    return !policy_ && facts_.policy && note_.agent_acts && !settings_.dry_run;
}

// An agent must not go on following a policy that was removed.
std::optional<PolicyOrder> Vm::withdrawal() const {
    PolicyOrder order;
    if (agent_order_ && agent_order_->policy) {
        order = *agent_order_->policy;
    } else if (must_withdraw()) {  // by an earlier run: what the policy was is not known
        const Bytes size = std::max(balloon_.target(), k_least_min_mem);
        order.policy = Policy{.min_mem = size, .max_mem = std::max(size, balloon_.ram())};
        order.grant = size;
    } else {
        return std::nullopt;
    }
    order.policy.mode = Mode::off;
    return order;
}

void Vm::note_target(Bytes target, Actions& actions) {
    StateNote note = note_;
    note.target = target;
    write_note(note, actions);
}

void Vm::note_agent(bool acts, Actions& actions) {
    StateNote note = note_;
    note.agent_acts = acts;
    write_note(note, actions);
}

void Vm::write_note(const StateNote& note, Actions& actions) {
    if (note_ != note) {
        note_ = note;
        actions.emplace_back(WriteNote{note});
    }
}

void Vm::order_agent(Now now, Actions& actions) {
    if (policy_ && !facts_.channel) {
        mark("no-channel", "the domain has no channel to an agent: " + without_agent(), now,
             actions);
    } else {
        unmark("no-channel", now, actions);
    }
    if (policy_ && !facts_.has_balloon) {
        mark("no-balloon", "the domain has no balloon device: max-mem cannot be held", now,
             actions);
    } else {
        unmark("no-balloon", now, actions);
    }
    agent_connected_ = agent_connected_ && facts_.channel;
    check_agent(now, actions);
    const bool talk = facts_.channel && (policy_ || agent_order_ || must_withdraw());
    if (!talk) {
        if (agent_order_) {
            agent_order_.reset();
            actions.emplace_back(LeaveAgent{});
        }
        return;
    }
    TalkToAgent order{*facts_.channel, policy_for_agent(), {}};
    if (order.policy) {
        order.policy->generation = generation_;
        order.swap_out_per_s = swap_out_per_s_;
    }
    if (agent_order_ == order) {
        return;
    }
    const bool only_limits =
        agent_order_ && agent_order_->path == order.path && agent_order_->policy == order.policy;
    if (order.policy && !only_limits) {
        // An agent follows what came last, whatever its number; numbers that grow, also across our
        // own restarts, tell whose answer is whose.
        generation_ = std::max(generation_ + 1, static_cast<uint64_t>(now.wall.count() / 1000));
        order.policy->generation = generation_;
        if (order.policy->policy.mode == Mode::automatic) {  // noted before it is told
            note_agent(true, actions);
        }
    }
    agent_order_ = order;
    actions.emplace_back(std::move(order));
}

// What is lost, and what holds all the same.
std::string Vm::without_agent() const {
    if (!acts()) {
        const std::string why =
            settings_.dry_run ? "a dry run" : "mode " + std::string(to_string(mode_in_force()));
        return "its guest is not seen; under " + why + " it would not be steered anyway";
    }
    return facts_.has_balloon
               ? "its guest is not steered from inside, its balloon follows what its driver tells"
               : "its guest is not steered, max-mem is not held: there is no balloon";
}

// A stock qemu-ga answers as well, but knows no policy.
void Vm::check_agent(Now now, Actions& actions) {
    const bool takes_policy = proto::supports(agent_info_, proto::k_capability_policy);
    if (policy_ && agent_connected_ && !takes_policy) {
        mark("no-acma-agent",
             "the agent on the channel (version " + agent_info_.version.substr(0, 64) +
                 ") takes no policy, it is not acma-agent but perhaps qemu-ga: " + without_agent(),
             now, actions);
    } else {
        unmark("no-acma-agent", now, actions);
    }
}

Actions Vm::on_agent(const AgentEvent& event, Now now) {
    Actions actions;
    if (const auto* up = std::get_if<AgentUp>(&event)) {
        if (agent_connected_ && up->info == agent_info_) {
            return actions;  // it was only asked again
        }
        agent_connected_ = true;
        agent_up_at_ = now.mono;
        agent_info_ = up->info;
        had_agent_ = had_agent_ || proto::supports(agent_info_, proto::k_capability_policy);
        if (!proto::supports(agent_info_, proto::k_capability_status)) {
            claimed_.reset();  // it was another that said this
        }
        for (const char* word : {"silent", "unreachable", "channel-held", "flooding"}) {
            unmark(word, now, actions);
        }
        noticed("agent-up", "the agent answers: version " + up->info.version.substr(0, 64), now);
        check_agent(now, actions);
    } else if (const auto* took = std::get_if<AgentTookPolicy>(&event)) {
        on_policy_taken(took->in_force, now, actions);
    } else if (const auto* refused = std::get_if<AgentRefusedPolicy>(&event)) {
        mark("policy-refused", "the agent refused the policy: " + refused->why, now, actions);
    } else if (const auto* said = std::get_if<AgentSaid>(&event)) {
        on_status(said->status, now, actions);
    } else if (const auto* down = std::get_if<AgentDown>(&event)) {
        on_down(*down, now, actions);
    } else {
        on_costly(now, actions);
    }
    return actions;
}

void Vm::on_policy_taken(const proto::PolicyInForce& in_force, Now now, Actions& actions) {
    unmark("policy-refused", now, actions);
    noticed("agent-policy",
            "the agent took the policy: " + describe(in_force.policy) + ", grant " +
                human(in_force.grant),
            now);
    const bool last_order = agent_order_ && agent_order_->policy &&
                            agent_order_->policy->generation == in_force.generation;
    if (!policy_ && last_order) {  // the withdrawal: nothing is left to be done after a restart
        note_agent(false, actions);
    }
}

void Vm::on_down(const AgentDown& down, Now now, Actions& actions) {
    constexpr std::array<std::pair<AgentDown::Why, std::string_view>, 4> k_words{{
        {AgentDown::Why::unreachable, "unreachable"},
        {AgentDown::Why::held, "channel-held"},
        {AgentDown::Why::silent, "silent"},
        {AgentDown::Why::flooding, "flooding"},
    }};
    if (std::exchange(agent_connected_, false)) {
        agent_gone_at_ = now.mono;
    }
    contradicts_since_.reset();
    for (const auto& [why, word] : k_words) {
        if (why == down.why) {
            mark(word, down.message, now, actions);
        } else if (why != AgentDown::Why::flooding) {  // that one is only cured by good behaviour
            unmark(word, now, actions);
        }
    }
    check_agent(now, actions);
}

void Vm::on_costly(Now now, Actions& actions) {
    costly_at_ = now.mono;
    mark(
        "costly",
        "what the guest sends to the controller takes more than a thousandth of a core: it is read "
        "more slowly, and so are its answers",
        now, actions);
}

void Vm::forgive(std::string_view what, std::optional<Time>& last, Now now, Actions& actions) {
    if (last && now.mono - *last >= k_forgive_after) {
        last.reset();
        unmark(what, now, actions);
    }
}

void Vm::on_status(const AgentStatus& status, Now now, Actions& actions) {
    const bool standing = claimed_ && repeats(status, claimed_->status);
    if (!standing) {
        check_claims(status, now, actions);
    }
    if (!claimed_ || claimed_->status.state != status.state) {
        note_agent_state(status, now);
    }
    const Time fresh_at = standing ? claimed_->fresh_at : now.mono;
    claimed_ = Claimed{status, now.mono, fresh_at};
    if (now.mono - fresh_at >= k_stale_after) {
        mark("stale",
             "the agent repeats sample " + std::to_string(status.sequence) +
                 ": its numbers are not used",
             now, actions);
    } else if (!standing) {
        unmark("stale", now, actions);
    }
}

// An agent that answers, but with nothing that could be used.
void Vm::check_age(Now now, Actions& actions) {
    if (agent_connected_ && claimed_ &&
        now.mono - std::max(claimed_->at, agent_up_at_) >= k_untold_after) {
        mark("stale",
             "the agent has not told its status for " + human(Micros(k_untold_after)) +
                 " or more, though it answers: its last numbers are not used",
             now, actions);
    }
}

// What the agent decides about page-out is explained by its own words.
void Vm::note_agent_state(const AgentStatus& status, Now now) {
    std::map<std::string, uint64_t> numbers{
        {"psi_bp", status.psi.count()},
        {"mem_available_bytes", status.mem_available.count()},
        {"reclaimed_bytes", status.reclaimed_total.count()},
    };
    if (host_) {
        numbers.emplace("host_bytes", host_->total().count());
    }
    const std::string sentence =
        "the agent is " + std::string(to_string(status.state)) + ": " + status.reason;
    noticed("agent-state", proto::clean_text(sentence, k_longest_reason), now, std::move(numbers));
}

void Vm::check_claims(const AgentStatus& status, Now now, Actions& actions) {
    ClaimContext context{.ram = facts_.ram + plug_.sums().current};
    if (claimed_) {
        context.previous = claimed_->status;
        context.since_previous = now.mono - claimed_->at;
    }
    std::optional<std::string> lie = impossible(status, context);
    std::optional<std::string> contradiction;
    if (host_ && !lie) {
        const HostView host{context.ram, facts_.ram - facts_.current, host_->total(),
                            facts_.huge_pages};
        contradiction = contradicts_host(status, host);
        returns_.see(not_returned(status, host), host_at_, now.mono);
    }
    if (!contradiction) {
        contradicts_since_.reset();
    } else if (!contradicts_since_) {
        contradicts_since_ = now.mono;
    } else if (now.mono - *contradicts_since_ >= k_contradiction_lasts &&
               host_at_ > *contradicts_since_) {
        // A figure from before it began says nothing: big guests are measured every half minute.
        lie = contradiction;
    }
    if (lie) {
        lied_at_ = now.mono;
        mark("lying", "the guest's numbers are not used: " + *lie, now, actions);
    }
}

// --- marks and reasons ----------------------------------------------------------------------

void Vm::mark(std::string_view what, std::string message, Now now, Actions& actions) {
    const auto known = marks_.find(what);
    // Most messages have numbers that change all the time; an operator's new mistake is news.
    const bool news = known == marks_.end() || (what == "bad-policy" && known->second != message);
    if (news) {
        noticed("mark", std::string(what) + ": " + message, now);
        tell(true, message, now, actions);
    }
    marks_.insert_or_assign(std::string(what), std::move(message));
}

void Vm::unmark(std::string_view what, Now now, Actions& actions) {
    const auto known = marks_.find(what);
    if (known == marks_.end()) {
        return;
    }
    noticed("unmark", std::string(what) + " is over", now);
    tell(false, std::string(what) + " is over", now, actions);
    marks_.erase(known);
}

void Vm::decided(std::string_view word, std::string reason, Now now, Actions& actions,
                 std::map<std::string, uint64_t> numbers, History::Cause cause) {
    tell(false, reason, now, actions);
    history_.add(
        proto::ExplainEntry{now.wall, std::string(word), std::move(reason), std::move(numbers)},
        cause);
}

void Vm::noticed(std::string_view word, std::string reason, Now now,
                 std::map<std::string, uint64_t> numbers) {
    history_.add(
        proto::ExplainEntry{now.wall, std::string(word), std::move(reason), std::move(numbers)},
        History::Cause::guest);
}

void Vm::tell(bool warning, std::string text, Now now, Actions& actions) {
    if (log_budget_.overdrawn(now.mono)) {
        ++lines_left_out_;
        return;
    }
    log_budget_.spend(1, now.mono);
    if (const uint64_t left_out = std::exchange(lines_left_out_, 0); left_out > 0) {
        text += " (" + std::to_string(left_out) + " lines about this VM were left out before)";
    }
    actions.emplace_back(Tell{warning, std::move(text)});
}

}  // namespace acma::host
