// SPDX-License-Identifier: Apache-2.0
#include "host-controller/fleet/fleet.h"

#include <algorithm>
#include <set>
#include <utility>

#include "engine/arbiter/swap_share.h"
#include "engine/base/count.h"
#include "host-controller/metadata/policy_patch.h"
#include "host-controller/metadata/uuid.h"

namespace acma::host {

namespace {
constexpr Micros k_reservation_lasts{300'000'000};
// Guests that call for more are heard together, so that many of them, or a mad one, cost little.
constexpr Micros k_hear_together{50'000};

template <typename... Handlers>
struct Overloaded : Handlers... {
    using Handlers::operator()...;
};
template <typename... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;
}  // namespace

Fleet::Fleet(Settings settings, Outside outside)
    : settings_(std::move(settings)), outside_(std::move(outside)) {
    host_.dry_run = settings_.dry_run;
}

// --- events ---------------------------------------------------------------------------------

void Fleet::on_hypervisor(const HypervisorEvent& event) {
    std::visit(Overloaded{
                   [this](const HypervisorUp& e) { up(e); },
                   [this](const HypervisorDown& e) {
                       host_.libvirt_connected = false;
                       if (std::exchange(last_outage_, e.why) != e.why) {
                           log(true, e.why + "; the VMs keep what they have, trying again");
                       }
                   },
                   [this](const DomainSeen& e) { seen(e.facts, e.policy_written); },
                   [this](const DomainGone& e) { gone(e.vm, e.why); },
                   [this](const DomainUnread& e) {
                       const auto vm = vms_.find(e.vm);
                       log(true, (vm == vms_.end() ? e.vm.uuid : vm->second.facts().name) + ": " +
                                     e.why + "; it keeps what it has, trying again");
                   },
                   [this](const BalloonSeen& e) {
                       if (const auto vm = vms_.find(e.vm); vm != vms_.end()) {
                           carry_out(e.vm, vm->second.on_balloon(e.actual, outside_.clock()));
                       }
                   },
                   [this](const CallSeen& e) {
                       if (const auto vm = vms_.find(e.vm); vm != vms_.end()) {
                           carry_out(e.vm, vm->second.on_call(e.runs, outside_.clock()));
                       }
                   },
                   [this](const MigrationSeen& e) {
                       if (const auto vm = vms_.find(e.vm); vm != vms_.end()) {
                           carry_out(e.vm, vm->second.on_migration(e.runs, outside_.clock()));
                       }
                   },
               },
               event);
}

// A new connection: what happened meanwhile is not known, so everything is compared.
void Fleet::up(const HypervisorUp& up) {
    host_.libvirt_connected = true;
    last_outage_.clear();
    log(false,
        "connected to libvirt, " + counted(up.running.size() + up.unread.size(), "running domain"));
    for (auto& [id, vm] : vms_) {
        vm.end_balloon_pause();
    }
    std::set<VmId> running(up.unread.begin(), up.unread.end());
    for (const DomainFacts& facts : up.running) {
        running.insert(facts.vm);
        seen(facts, false);
    }
    std::vector<VmId> ended;
    for (const auto& [id, vm] : vms_) {
        if (!running.contains(id)) {
            ended.push_back(id);
        }
    }
    for (const VmId& vm : ended) {
        gone(vm, "it was stopped");
    }
}

void Fleet::seen(const DomainFacts& facts, bool policy_written) {
    const auto known = vms_.find(facts.vm);
    const Now now = outside_.clock();
    if (known != vms_.end() && known->second.facts().id == facts.id) {
        carry_out(facts.vm, known->second.on_domain(facts, policy_written, now));
        return;
    }
    if (known != vms_.end()) {
        gone(facts.vm, "it was started anew");
    }
    const VmSettings settings{.rules = &settings_.rules,
                              .dry_run = settings_.dry_run,
                              .ask_guest_agent = fits_any(settings_.guest_agents, facts.name),
                              .arbitrated = host_.mem_total > Bytes(0),
                              .hold = settings_.hold};
    if (const auto used = reservations_.use(facts.name, facts.vm.uuid)) {
        log(false, facts.name + ": the " + human(used->size) +
                       " that were reserved for it are its own now");
    }
    Vm& vm = vms_.try_emplace(facts.vm, settings, facts, now).first->second;
    log(false, facts.name + ": found, RAM " + human(facts.ram));
    carry_out(facts.vm, vm.start(now));
    if (host_.paused) {
        carry_out(facts.vm, vm.pause(true, now));
    }
}

void Fleet::gone(const VmId& id, const std::string& why) {
    const auto known = vms_.find(id);
    if (known == vms_.end()) {
        return;
    }
    log(false, known->second.facts().name + ": gone: " + why);
    outside_.agents.leave(id);
    outside_.host_memory.unwatch(id);
    vms_.erase(known);
    posted_.erase(id);
}

void Fleet::on_agent(const VmId& id, const AgentEvent& event) {
    if (const auto vm = vms_.find(id); vm != vms_.end()) {
        const Now now = outside_.clock();
        carry_out(id, vm->second.on_agent(event, now));
        if (const auto* said = std::get_if<AgentSaid>(&event)) {
            if (said->status.at_grant) {
                arbitrate_soon(now);
            }
            timings_.cycle.add(outside_.clock().mono - said->due);
        }
    }
}

void Fleet::on_host_bytes(const VmId& id, const Result<HostBytes>& bytes) {
    if (const auto vm = vms_.find(id); vm != vms_.end()) {
        carry_out(id, vm->second.on_host_bytes(bytes, outside_.clock()));
    }
}

void Fleet::tick() {
    const Now now = outside_.clock();
    ask_all([now](Vm& vm, size_t) { return vm.tick(now); });
    for (const arbiter::Reservation& ended : reservations_.end(now.mono)) {
        log(true, "reservation " + std::to_string(ended.id) + " of " + human(ended.size) +
                      (ended.domain.empty() ? "" : " for " + ended.domain) + " has ended unused");
    }
    watch_host(now);
    arbitrate(now);
    share_swap(now);
    timings_.pass.add(outside_.clock().mono - now.mono);
}

template <typename Ask>
void Fleet::ask_all(Ask ask) {
    std::vector<std::pair<VmId, Actions>> wanted;
    size_t place = 0;
    for (auto& [id, vm] : vms_) {
        if (Actions actions = ask(vm, place++); !actions.empty()) {
            wanted.emplace_back(id, std::move(actions));
        }
    }
    for (const auto& [id, actions] : wanted) {
        carry_out(id, actions);
    }
}

void Fleet::share_swap(Now now) {
    std::vector<arbiter::SwapUser> users;
    users.reserve(vms_.size());
    for (const auto& [id, vm] : vms_) {
        users.push_back(vm.swap_user());
    }
    const std::vector<Bytes> shares = arbiter::share_swap(settings_.swap_out_limit, users);
    ask_all([&shares, now](Vm& vm, size_t i) { return vm.on_swap_share(shares[i], now); });
}

void Fleet::watch_host(Now now) {
    if (host_.mem_total == Bytes(0)) {
        return;  // it could not be read
    }
    host_.reserve = settings_.host_reserve.value_or(host_.mem_total / 16);
    const arbiter::Strain before = strain_.strain();
    const arbiter::Strain strain = strain_.observe({.available = host_.mem_available,
                                                    .reserve = host_.reserve,
                                                    .psi_some_total = counters_.psi_some_total,
                                                    .swap_out_total = counters_.swap_out_total},
                                                   now.mono);
    host_.strain = to_string(strain);
    host_.strain_reason = strain_.reason();
    if (strain == before) {
        return;
    }
    switch (strain) {
        case arbiter::Strain::none:
            log(false, "the host is short of memory no more");
            break;
        case arbiter::Strain::strained:
            log(true, "the host is short of memory: " + strain_.reason() +
                          "; no VM keeps more than it uses");
            break;
        case arbiter::Strain::emergency:
            log(true, "emergency, the host stalls: " + strain_.reason() +
                          "; no VM grows, and memory that is not accessed is taken, step by step");
            break;
    }
}

void Fleet::arbitrate_soon(Now now) {
    if (wakes_ || !outside_.wake) {
        return;
    }
    // Not from here: what the host decides for all is no cost of the guest that called.
    wakes_ = true;
    outside_.wake(std::max(k_hear_together - (now.mono - arbitrated_at_), Micros(0)));
}

void Fleet::on_wake() {
    wakes_ = false;
    arbitrate(outside_.clock());
}

void Fleet::arbitrate(Now now) {
    arbitrated_at_ = now.mono;
    if (host_.mem_total == Bytes(0)) {
        return;  // it could not be read
    }
    host_.budget = host_.mem_total - host_.reserve;
    host_.reserved = reservations_.total();
    cycle_.wall = now.wall;
    cycle_.host = arbiter::Host{.budget = host_.budget,
                                .reserved = host_.reserved,
                                .strain = strain_.strain(),
                                .short_of = strain_.short_of()};
    // Written over, each in its place: their storage stays.
    cycle_.ids.resize(vms_.size());
    cycle_.guests.clear();
    for (const auto& [id, vm] : vms_) {
        cycle_.ids[cycle_.guests.size()] = id;
        cycle_.guests.push_back(vm.claim(now));
    }
    cycle_.decision = arbiter::arbitrate(cycle_.host, cycle_.guests);
    const arbiter::Decision& decision = cycle_.decision;
    missing_ = decision.missing;
    const bool lacking = decision.lacking > Bytes(0);
    if (lacking != (std::exchange(host_.lacking, decision.lacking) > Bytes(0))) {
        log(lacking, lacking ? "what the VMs are guaranteed exceeds the host's budget of " +
                                   human(host_.budget) + " by " + human(decision.lacking) +
                                   ": lower min-mem, give VMs a policy, or move or stop some"
                             : std::string("what the VMs are guaranteed fits the host again"));
    }
    if (outside_.record) {
        outside_.record(record());
    }
    ask_all([&decision, now](Vm& vm, size_t i) { return vm.on_grant(decision.grants[i], now); });
}

// --- actions --------------------------------------------------------------------------------

// A port may answer at once, so the VM is looked up again by whoever continues.
void Fleet::carry_out(const VmId& id, const Actions& actions) {
    for (const Action& action : actions) {
        const auto vm = vms_.find(id);
        if (vm == vms_.end()) {
            return;
        }
        const std::string name = vm->second.facts().name;
        std::visit(Overloaded{
                       [this, &id](const TalkToAgent& a) { outside_.agents.talk(id, a); },
                       [this, &id](const LeaveAgent&) { outside_.agents.leave(id); },
                       [this, &id](const WriteBalloon& a) { write_balloon(id, a.target); },
                       [this, &id](const LimitChange& a) { write_limit(id, a); },
                       [this, &id](const PlugChange& a) { write_plug(id, a); },
                       [this, &id](const WriteNote& a) { write_note(id, a.note); },
                       [this, &id, &name](const MeasureHost& a) {
                           outside_.host_memory.watch(id, name, a.ram_blocks);
                       },
                       [this, &id](const ReadStatistics& a) { read_statistics(id, a); },
                       [this, &id](const ReadGuestAgent&) { read_guest_agent(id); },
                       [this, &name](const Tell& a) { log(a.warning, name + ": " + a.text); },
                   },
                   action);
    }
}

void Fleet::write_balloon(const VmId& id, Bytes target) {
    // A QEMU that hung may answer when the domain was started anew: that knows nothing of it.
    const auto run = vms_.at(id).facts().id;
    outside_.hypervisor.set_balloon(id, target, [this, id, run, target](const Status& outcome) {
        if (const auto vm = vms_.find(id); vm != vms_.end() && vm->second.facts().id == run) {
            carry_out(id, vm->second.on_balloon_written(outcome, target, outside_.clock()));
        }
    });
}

void Fleet::write_limit(const VmId& id, const LimitChange& change) {
    const auto run = vms_.at(id).facts().id;
    outside_.hypervisor.set_limit(id, change, [this, id, run, change](const auto& in_force) {
        if (const auto vm = vms_.find(id); vm != vms_.end() && vm->second.facts().id == run) {
            carry_out(id, vm->second.on_limit_written(in_force, change, outside_.clock()));
        }
        end_if_done();
    });
}

void Fleet::write_plug(const VmId& id, const PlugChange& change) {
    const auto run = vms_.at(id).facts().id;
    outside_.hypervisor.set_requested(id, change, [this, id, run, change](const auto& in_force) {
        if (const auto vm = vms_.find(id); vm != vms_.end() && vm->second.facts().id == run) {
            carry_out(id, vm->second.on_plug_written(in_force, change, outside_.clock()));
        }
    });
}

void Fleet::end(std::function<void()> done) {
    ended_ = std::move(done);
    for (auto& [id, vm] : vms_) {
        carry_out(id, vm.let_go(outside_.clock()));
    }
    end_if_done();
}

void Fleet::end_if_done() {
    const bool held = std::any_of(vms_.begin(), vms_.end(),
                                  [](const auto& entry) { return entry.second.held(); });
    if (ended_ && !held) {
        std::exchange(ended_, nullptr)();
    }
}

void Fleet::read_statistics(const VmId& id, ReadStatistics order) {
    const auto run = vms_.at(id).facts().id;
    outside_.hypervisor.read_statistics(
        id, order, [this, id, run](const Result<MemoryStatistics>& answer) {
            if (const auto vm = vms_.find(id); vm != vms_.end() && vm->second.facts().id == run) {
                carry_out(id, vm->second.on_statistics(answer, outside_.clock()));
            }
        });
}

void Fleet::read_guest_agent(const VmId& id) {
    const auto run = vms_.at(id).facts().id;
    outside_.hypervisor.read_guest_agent(
        id, [this, id, run](const Result<GuestAgentReading>& answer) {
            if (const auto vm = vms_.find(id); vm != vms_.end() && vm->second.facts().id == run) {
                vm->second.on_guest_agent(answer, outside_.clock());
            }
        });
}

// Without the note a restarted controller may take our own target for somebody else's, which only
// makes it more careful, and does not withdraw a policy that was removed while it was down.
void Fleet::write_note(const VmId& id, const StateNote& note) {
    outside_.hypervisor.write_note(id, note, [this, id](const Status& outcome) {
        if (const auto vm = vms_.find(id); !outcome && vm != vms_.end()) {
            log(true,
                vm->second.facts().name +
                    ": what was done could not be noted in the domain: " + outcome.error().message);
        }
    });
}

// --- the operator ---------------------------------------------------------------------------

Status Fleet::connected() const {
    return host_.libvirt_connected ? Status() : Error{ErrorCode::busy, "libvirt is not connected"};
}

Result<VmId> Fleet::find(std::string_view domain) const {
    const auto by = [this](auto matches) {
        return std::find_if(vms_.begin(), vms_.end(), [&matches](const auto& entry) {
            return matches(entry.second.facts());
        });
    };
    auto found = by([domain](const DomainFacts& facts) {
        return facts.id && std::to_string(*facts.id) == domain;
    });
    if (found == vms_.end()) {
        const std::string uuid = read_uuid(domain).value_or(std::string(domain));
        found = by([&uuid](const DomainFacts& facts) { return facts.vm.uuid == uuid; });
    }
    if (found == vms_.end()) {
        found = by([domain](const DomainFacts& facts) { return facts.name == domain; });
    }
    if (found == vms_.end()) {
        return Error{ErrorCode::not_found,
                     "no running domain '" + std::string(domain.substr(0, 64)) + "'" +
                         (host_.libvirt_connected
                              ? "; the policy of a stopped one is set by virsh metadata --config"
                              : " known; libvirt is not connected")};
    }
    return found->first;
}

proto::VmList Fleet::list() const {
    proto::VmList list;
    list.controller_version = ACMA_VERSION;
    list.host = host_;
    for (const auto& [id, vm] : vms_) {
        list.vms.push_back(vm.summary());
        const proto::VmSummary& view = list.vms.back();
        list.host.granted +=
            view.balloon_target + view.virtio_mem_requested.value_or(Bytes(0)) + view.qemu_own;
    }
    std::sort(list.vms.begin(), list.vms.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return list;
}

Result<proto::VmDetail> Fleet::detail(std::string_view domain) const {
    const Result<VmId> id = find(domain);
    if (!id) {
        return id.error();
    }
    return vms_.find(*id)->second.detail(outside_.clock());
}

Result<proto::Explanation> Fleet::explain(std::string_view domain) const {
    const Result<VmId> id = find(domain);
    if (!id) {
        return id.error();
    }
    const Vm& vm = vms_.find(*id)->second;
    proto::Explanation explanation{vm.facts().name, vm.facts().vm.uuid, vm.history().entries()};
    if (auto now = standing(*id)) {
        explanation.entries.push_back(*std::move(now));
    }
    return explanation;
}

proto::Reservation Fleet::show(const arbiter::Reservation& reservation) const {
    return {reservation.id, reservation.size, reservation.domain,
            std::max(Micros(0), reservation.until - outside_.clock().mono)};
}

Result<proto::ReservationList> Fleet::reserve(const proto::ReservationRequest& request) {
    if (const Status known = connected(); !known) {
        return known.error();
    }
    if (host_.budget > Bytes(0) && request.size > host_.budget) {
        return Error{ErrorCode::invalid,
                     human(request.size) +
                         " is more than all VMs of this host may have together, " +
                         human(host_.budget)};
    }
    const Now now = outside_.clock();
    const std::string domain = request.domain.value_or("");
    const auto made = reservations_.add(request.size, read_uuid(domain).value_or(domain),
                                        request.lasts.value_or(k_reservation_lasts), now.mono);
    if (!made) {
        return made.error();
    }
    arbitrate(now);
    return proto::ReservationList{{show(*made)}, missing_};
}

Result<proto::ReservationList> Fleet::give_up(uint64_t reservation) {
    const auto gone = reservations_.give_up(reservation);
    if (!gone) {
        return gone.error();
    }
    arbitrate(outside_.clock());
    return proto::ReservationList{{show(*gone)}, missing_};
}

proto::ReservationList Fleet::reservations() const {
    proto::ReservationList list{{}, missing_};
    for (const arbiter::Reservation& reservation : reservations_.all()) {
        list.reservations.push_back(show(reservation));
    }
    return list;
}

Status Fleet::fits_with(const VmId& changed, const Policy& policy) const {
    if (host_.budget == Bytes(0)) {
        return {};  // not known
    }
    const Now now = outside_.clock();
    const auto lacking = [this, now](const VmId& other, const Vm& instead) {
        std::vector<arbiter::Guest> guests;
        for (const auto& [id, vm] : vms_) {
            guests.push_back((id == other ? instead : vm).claim(now));
        }
        const arbiter::Host host{.budget = host_.budget, .reserved = reservations_.total()};
        return arbiter::arbitrate(host, guests).lacking;
    };
    Vm vm = vms_.find(changed)->second;
    const Bytes before = lacking(changed, vm);
    DomainFacts facts = vm.facts();
    facts.policy = std::optional(policy);
    (void)vm.on_domain(facts, true, now);  // a copy: nobody carries that out
    const Bytes after = lacking(changed, vm);
    if (policy.mode != Mode::automatic || after <= before) {
        return {};
    }
    return Error{ErrorCode::invalid,
                 "with min-mem " + human(policy.min_mem) +
                     " what the VMs are guaranteed (min-mem and QEMU's own) and what is reserved "
                     "would exceed the host's budget of " +
                     human(host_.budget) + " by " + human(after) +
                     (before > Bytes(0) ? ", now by " + human(before) : "")};
}

std::optional<Policy> Fleet::policy_to_change(const VmId& vm) const {
    const auto posted = posted_.find(vm);
    return posted != posted_.end() ? posted->second.policy : vms_.find(vm)->second.policy();
}

std::string Fleet::why_no_policy(const VmId& vm) const {
    const auto& written = vms_.find(vm)->second.facts().policy;
    return written ? "the domain has no policy"
                   : "the domain's policy cannot be read: " + written.error().message;
}

void Fleet::change_policy(std::string_view domain, const proto::PolicyChange& change,
                          Changed done) {
    if (const Status known = connected(); !known) {
        return done(known.error());
    }
    const Result<VmId> id = find(domain);
    if (!id) {
        return done(id.error());
    }
    if (settings_.dry_run) {
        return done(Error{ErrorCode::permission, "the controller runs with --dry-run"});
    }
    const std::optional<Policy> base = policy_to_change(*id);
    const PolicyPatch wanted = base ? to_patch(apply(change, *base)) : change;
    Result<Policy> policy = complete(wanted, Mode::automatic);
    if (!policy) {
        const bool missing = !base && !(change.min_mem && change.max_mem);
        return done(missing ? policy.error().in(why_no_policy(*id) +
                                                ", so min-mem and max-mem must be given")
                            : policy.error());
    }
    policy = as_kept(*policy);
    if (!policy) {
        return done(policy.error());
    }
    if (const Status fits = fits_with(*id, *policy); !fits) {
        return done(fits.error());
    }
    const uint64_t number = ++posts_;
    posted_[*id] = Posted{number, *policy};
    outside_.hypervisor.set_policy(
        *id, *policy,
        [this, id = *id, policy = *policy, number, done = std::move(done)](const Status& outcome) {
            if (const auto posted = posted_.find(id);
                posted != posted_.end() && posted->second.number == number) {
                posted_.erase(posted);
            }
            const auto vm = vms_.find(id);
            if (!outcome) {
                return done(outcome.error().in("the policy stays as it was"));
            }
            if (vm == vms_.end()) {
                return done(Error{ErrorCode::not_found, "the domain is gone"});
            }
            // libvirt's event says the same in a moment; the answer should not have to wait for it.
            DomainFacts facts = vm->second.facts();
            facts.policy = std::optional(policy);
            seen(facts, true);
            done(detail(id.uuid));
        });
}

Result<proto::HostSummary> Fleet::pause(bool paused) {
    if (std::exchange(host_.paused, paused) != paused) {
        log(paused, paused ? "paused by the operator: nothing is changed" : "resumed");
    }
    const Now now = outside_.clock();
    for (auto& [id, vm] : vms_) {
        carry_out(id, vm.pause(paused, now));
    }
    return list().host;
}

void Fleet::release(std::string_view domain, Changed done) {
    if (const Status known = connected(); !known) {
        return done(known.error());
    }
    const Result<VmId> id = find(domain);
    if (!id) {
        return done(id.error());
    }
    if (!policy_to_change(*id)) {
        return done(Error{ErrorCode::invalid, why_no_policy(*id) + ", so it is left alone"});
    }
    change_policy(id->uuid, {.mode = Mode::off},
                  [this, id = *id, done = std::move(done)](const Result<proto::VmDetail>& changed) {
                      const auto vm = vms_.find(id);
                      if (!changed || vm == vms_.end()) {
                          return done(changed);
                      }
                      carry_out(id, vm->second.release(outside_.clock()));
                      done(detail(id.uuid));
                  });
}

}  // namespace acma::host
