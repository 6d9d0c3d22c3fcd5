// SPDX-License-Identifier: Apache-2.0
// A VM that stays above its grant, held by memory.high of its cgroup (engine/arbiter/hold.h).
#include <algorithm>
#include <utility>

#include "host-controller/vm/vm.h"

namespace acma::host {

namespace {
constexpr Micros k_first_limit_retry{5'000'000};
constexpr Micros k_longest_limit_retry{300'000'000};
// Whoever has set a limit of his own is not asked every few seconds whether he still wants it.
constexpr Micros k_foreign_limit_pause{600'000'000};

std::string by_memory_high(Bytes limit) {
    return human(limit) + " by memory.high of its cgroup, QEMU's own memory and a margin included";
}
}  // namespace

// An earlier run of ours has left it, or it came with the domain from another host.
void Vm::find_limit(Now now, Actions& actions) {
    const auto& ours = note_.limits;
    if (!facts_.soft_limit || std::count(ours.begin(), ours.end(), *facts_.soft_limit) == 0) {
        return;
    }
    limit_.in_force = facts_.soft_limit;
    hold_ = arbiter::HoldWatch(limit_.in_force);
    mark("held", "it was found held at " + by_memory_high(*limit_.in_force), now, actions);
}

// A sentence that begins with "it"; empty: it may be held.
std::string_view Vm::why_not_held() const {
    if (ends_) {
        return "the controller ends";
    }
    if (!settings_.hold) {
        return "hold-with-memory-high is off";
    }
    if (!policy_ || released_) {
        return released_ ? "it was released" : "it has no policy any more";
    }
    if (mode_in_force() != Mode::automatic) {
        return "it is not managed any more";
    }
    if (!facts_.has_balloon || facts_.huge_pages) {
        return "its memory is none that the limit counts, or no grant is in force";
    }
    return host_ ? "" : "its memory cannot be measured";
}

arbiter::HeldVm Vm::held_vm(Now now) const {
    const bool above = balloon_.actual() > balloon_.target() + k_balloon_slack;
    const plugging::Sums plugged = plug_.sums();
    return {.ram = facts_.ram + plugged.current,
            .grant = balloon_.target() + plugged.may_hold,
            .host = host_->total(),
            .swapped = host_->swapped,
            .own = host_->qemu_own,
            .measured_at = host_at_,
            .goes_down = above && !balloon_.asked() && !balloon_.stuck(now.mono)};
}

void Vm::decide_limit(Now now, Actions& actions) {
    // While the operator has paused us, or QEMU's memory is copied (libvirt takes no such call
    // then), it stays as it is.
    const bool frozen = settings_.dry_run || ((paused_ || migrates_) && !ends_);
    if (limit_.writing || frozen) {
        return;
    }
    const std::string_view why_not = why_not_held();
    if (why_not.empty()) {
        (void)hold_.observe(held_vm(now), now.mono);
    } else {
        hold_.let_go();
    }
    const std::optional<Bytes> wanted = hold_.limit();
    const bool waits = limit_.retry_at && now.mono < *limit_.retry_at && !ends_;
    if (wanted == limit_.in_force && !wanted) {
        unmark("hold-refused", now, actions);
        if (!waits) {
            unmark("foreign-limit", now, actions);
        }
    }
    if (wanted == limit_.in_force || waits) {
        return;
    }
    LimitChange change{.ours = note_.limits,
                       .or_none = !limit_.in_force || limit_.perhaps_lifted,
                       .limit = wanted,
                       .note = note_,
                       .reason = {}};
    change.note.limits.clear();
    if (limit_.in_force) {
        change.note.limits.push_back(*limit_.in_force);
    }
    if (wanted) {
        change.note.limits.push_back(*wanted);
        const Bytes grant = balloon_.target() + plug_.sums().requested;
        change.reason = "the host holds " + human(host_->total() - grant) +
                        " more of it than its grant of " + human(grant) + ": it is held at " +
                        by_memory_high(*wanted);
    } else {
        change.reason = "it is held no more: " +
                        std::string(why_not.empty() ? "it is within its grant again" : why_not);
    }
    note_ = change.note;
    limit_.writing = true;
    actions.emplace_back(std::move(change));
}

Actions Vm::on_limit_written(const Result<std::optional<Bytes>>& in_force,
                             const LimitChange& change, Now now) {
    Actions actions;
    limit_.writing = false;
    if (!in_force) {
        limit_.perhaps_lifted = limit_.perhaps_lifted || !change.limit;
        limit_.retry_in =
            std::clamp(limit_.retry_in * 2, k_first_limit_retry, k_longest_limit_retry);
        limit_.retry_at = now.mono + limit_.retry_in;
        mark("hold-refused", "memory.high of its cgroup cannot be set: " + in_force.error().message,
             now, actions);
        return actions;
    }
    const std::optional<Bytes> before = limit_.in_force;
    limit_ = Limit{};
    unmark("hold-refused", now, actions);
    if (*in_force != change.limit) {
        limit_.retry_at = now.mono + k_foreign_limit_pause;
        hold_.let_go();
        unmark("held", now, actions);
        mark("foreign-limit",
             "memory.high of its cgroup was " +
                 (*in_force ? "set to " + human(**in_force) : std::string("lifted")) +
                 " by somebody else, and is left so",
             now, actions);
        return actions;
    }
    limit_.in_force = change.limit;
    unmark("foreign-limit", now, actions);
    // On its way down it would be one of these every other second.
    if (!before || !change.limit || *change.limit > *before) {
        decided(change.limit ? "hold" : "let-go", change.reason, now, actions,
                {{"limit_bytes", change.limit.value_or(Bytes(0)).count()},
                 {"grant_bytes", (balloon_.target() + plug_.sums().requested).count()},
                 {"host_bytes", host_ ? host_->total().count() : 0}});
    }
    if (change.limit) {
        mark("held", change.reason, now, actions);
    } else {
        unmark("held", now, actions);
        StateNote note = note_;
        note.limits.clear();
        write_note(note, actions);
    }
    return actions;
}

Actions Vm::let_go(Now now) {
    Actions actions;
    ends_ = true;
    decide_limit(now, actions);
    return actions;
}

}  // namespace acma::host
