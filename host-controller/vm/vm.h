// SPDX-License-Identifier: Apache-2.0
// One VM: what is known of it, and what is to be done. Events with their time go in, actions come
// out; no I/O, no clock. What the guest says is checked and shown, never acted on: the balloon
// follows the policy alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/arbiter/arbiter.h"
#include "engine/arbiter/hold.h"
#include "engine/arbiter/swap_share.h"
#include "engine/base/units.h"
#include "engine/plugging/plug_watch.h"
#include "engine/policy/policy.h"
#include "host-controller/config/config.h"
#include "host-controller/hostmem/smaps.h"
#include "host-controller/metadata/domain_xml.h"
#include "host-controller/vm/agent_events.h"
#include "host-controller/vm/balloon_watch.h"
#include "host-controller/vm/guest_statistics.h"
#include "host-controller/vm/history.h"
#include "host-controller/vm/limit_change.h"
#include "host-controller/vm/plug_change.h"
#include "host-controller/vm/return_watch.h"
#include "proto/controller_api.h"
#include "proto/rate_budget.h"

namespace acma::host {

struct Now {
    Time mono;
    Micros wall{0};  // since 1970-01-01 UTC: for people and for numbering policies
};

// --- what is to be done ---------------------------------------------------------------------

struct WriteBalloon {
    Bytes target;
    bool operator==(const WriteBalloon&) const = default;
};
struct WriteNote {  // in the domain, for the time after a restart
    StateNote note;
    bool operator==(const WriteNote&) const = default;
};
struct MeasureHost {
    std::vector<Bytes> ram_blocks;
    bool operator==(const MeasureHost&) const = default;
};
struct Tell {  // a line for the log
    bool warning = false;
    std::string text;
    bool operator==(const Tell&) const = default;
};
using Action = std::variant<TalkToAgent, LeaveAgent, WriteBalloon, LimitChange, PlugChange,
                            WriteNote, MeasureHost, ReadStatistics, ReadGuestAgent, Tell>;
using Actions = std::vector<Action>;

// --- the VM ---------------------------------------------------------------------------------

// What is charted of a VM. What is not known is left out.
struct VmFigures {
    std::optional<Bytes> min_mem, max_mem;
    Bytes grant;
    Bytes size;
    std::optional<Bytes> host;
    Bytes qemu_own;
    std::optional<BasisPoints> psi;  // the guest's word, while its agent tells
    std::optional<BasisPoints> psi_target;
};

struct VmSettings {
    const std::vector<PolicyRule>* rules = nullptr;  // outlives the VM
    bool dry_run = false;
    bool ask_guest_agent = false;  // the stock one may be asked, where there is none of ours
    bool arbitrated = false;       // it keeps what it has until on_grant() says otherwise
    bool hold = false;             // by memory.high, where it stays above its grant
};

class Vm {
  public:
    // The domain was found running; start() gives the first actions.
    Vm(VmSettings settings, DomainFacts facts, Now now);
    [[nodiscard]] Actions start(Now now);

    [[nodiscard]] Actions on_domain(DomainFacts facts, bool policy_written, Now now);
    [[nodiscard]] Actions on_balloon(Bytes actual, Now now);
    // A refused balloon target is tried again without its pause: what is asked, or who, is new.
    void end_balloon_pause();
    // libvirt was asked something about the domain, and has not answered yet; or it has.
    [[nodiscard]] Actions on_call(bool runs, Now now);
    // Its memory is being copied (MigrationSeen): observed until that is over.
    [[nodiscard]] Actions on_migration(bool runs, Now now);
    [[nodiscard]] Actions on_balloon_written(const Status& outcome, Bytes target, Now now);
    [[nodiscard]] Actions on_limit_written(const Result<std::optional<Bytes>>& in_force,
                                           const LimitChange& change, Now now);
    [[nodiscard]] Actions on_plug_written(const Result<Bytes>& in_force, const PlugChange& change,
                                          Now now);
    // The controller ends: what it holds is let go.
    [[nodiscard]] Actions let_go(Now now);
    // A limit of ours is in force, or on its way.
    [[nodiscard]] bool held() const { return limit_.in_force || limit_.writing; }
    [[nodiscard]] Actions on_agent(const AgentEvent& event, Now now);
    [[nodiscard]] Actions on_host_bytes(const Result<HostBytes>& bytes, Now now);
    // What came of ReadStatistics.
    [[nodiscard]] Actions on_statistics(const Result<MemoryStatistics>& answer, Now now);
    // What came of ReadGuestAgent.
    void on_guest_agent(const Result<GuestAgentReading>& answer, Now now);
    [[nodiscard]] Actions tick(Now now);
    // The operator's: nothing is changed until that is over.
    [[nodiscard]] Actions pause(bool paused, Now now);
    // The operator's, beside mode off: the balloon gives all back, and is left alone then.
    [[nodiscard]] Actions release(Now now);
    // As the arbiter between VMs sees it.
    [[nodiscard]] arbiter::Guest claim(Now now) const;
    // Never more than this of what its policy allows, from now on.
    [[nodiscard]] Actions on_grant(const arbiter::Grant& grant, Now now);
    // Does its guest page out now, by its own word?
    [[nodiscard]] arbiter::SwapUser swap_user() const;
    // It may page out no more in a second, from now on.
    [[nodiscard]] Actions on_swap_share(Bytes per_s, Now now);

    [[nodiscard]] const DomainFacts& facts() const { return facts_; }
    [[nodiscard]] const std::optional<Policy>& policy() const { return policy_; }
    [[nodiscard]] const History& history() const { return history_; }
    [[nodiscard]] const std::optional<HostBytes>& host_bytes() const { return host_; }
    [[nodiscard]] Time host_bytes_at() const { return host_at_; }  // when they were measured
    [[nodiscard]] VmFigures figures() const;
    [[nodiscard]] proto::VmSummary summary() const;
    [[nodiscard]] proto::VmDetail detail(Now now) const;

  private:
    struct Claimed {
        AgentStatus status;
        Time at;        // when it came
        Time fresh_at;  // when its sequence number last advanced
    };

    void choose_policy(Now now, Actions& actions);
    // True if that has changed.
    bool check_left_alone(Now now, Actions& actions);
    void decide_balloon(Now now, Actions& actions);
    void see_devices(Now now, Actions& actions);
    void decide_plug(Now now, Actions& actions);
    void note_foreign_request(const plugging::Foreign& foreign, Now now, Actions& actions);
    void find_limit(Now now, Actions& actions);
    void decide_limit(Now now, Actions& actions);
    void size_by_statistics(Now now, Actions& actions);
    void step_statistics(Now now, Actions& actions);
    void order_agent(Now now, Actions& actions);
    void check_agent(Now now, Actions& actions);
    void write_note(const StateNote& note, Actions& actions);
    void note_target(Bytes target, Actions& actions);
    void note_agent(bool acts, Actions& actions);
    void on_policy_taken(const proto::PolicyInForce& in_force, Now now, Actions& actions);
    void on_status(const AgentStatus& status, Now now, Actions& actions);
    void check_age(Now now, Actions& actions);
    void note_agent_state(const AgentStatus& status, Now now);
    void check_claims(const AgentStatus& status, Now now, Actions& actions);
    void on_down(const AgentDown& down, Now now, Actions& actions);
    void on_costly(Now now, Actions& actions);
    void forgive(std::string_view what, std::optional<Time>& last, Now now, Actions& actions);
    void note_foreign_move(const ForeignMove& move, Now now, Actions& actions);

    void mark(std::string_view what, std::string message, Now now, Actions& actions);
    void unmark(std::string_view what, Now now, Actions& actions);
    void decided(std::string_view word, std::string reason, Now now, Actions& actions,
                 std::map<std::string, uint64_t> numbers = {},
                 History::Cause cause = History::Cause::decision);
    void noticed(std::string_view word, std::string reason, Now now,
                 std::map<std::string, uint64_t> numbers = {});
    void tell(bool warning, std::string text, Now now, Actions& actions);

    [[nodiscard]] Mode mode_in_force() const;
    [[nodiscard]] bool acts() const;
    [[nodiscard]] std::string without_agent() const;
    [[nodiscard]] std::optional<Bytes> wanted_target() const;
    [[nodiscard]] Bytes goal_of_devices() const;
    [[nodiscard]] Bytes least_boot_memory() const;
    [[nodiscard]] std::string_view why_not_held() const;
    [[nodiscard]] arbiter::HeldVm held_vm(Now now) const;
    [[nodiscard]] bool sized_by_statistics(Now now) const;
    [[nodiscard]] std::optional<proto::VmStatistics> statistics_view(Now now) const;
    [[nodiscard]] Bytes grant() const;
    [[nodiscard]] bool must_withdraw() const;
    [[nodiscard]] std::optional<PolicyOrder> withdrawal() const;
    [[nodiscard]] std::optional<PolicyOrder> policy_for_agent() const;
    [[nodiscard]] proto::VmState state() const;

    VmSettings settings_;
    DomainFacts facts_;
    std::optional<Policy> policy_;
    std::string policy_source_ = "none";
    std::optional<Bytes> swap_out_per_s_;  // its share of what the host allows
    bool yielded_ =
        false;  // repeated foreign balloon changes: observe until the policy is set anew
    bool migrates_ = false;      // observe until that is over
    bool paused_ = false;        // the same, until the operator resumes
    bool left_alone_ = false;    // the same, for what it is (reasons_to_leave_alone)
    bool may_hold_all_ = false;  // of its RAM, whatever its balloon says
    bool released_ = false;      // the balloon goes to all RAM; until the policy says otherwise
    uint64_t generation_ = 0;
    StateNote note_;  // as we wrote it last, or found it

    std::optional<arbiter::Grant> grant_;  // none: nobody arbitrates
    BalloonWatch balloon_;
    bool writing_ = false;               // a write is on its way, or waits for its turn
    std::optional<Time> calling_since_;  // libvirt has not answered
    std::optional<Bytes> told_target_;   // where it does not act: what it would have written, said
    std::optional<Time> retry_balloon_at_;
    Micros retry_balloon_in_{0};

    plugging::PlugWatch plug_;
    struct Plug {
        bool writing = false;
        std::optional<Bytes> told;  // where it does not act: the goal that was said
        std::optional<Time> retry_at;
        Micros retry_in{0};
    };
    Plug plug_write_;

    arbiter::HoldWatch hold_;
    struct Limit {                      // of its cgroup
        std::optional<Bytes> in_force;  // ours
        bool perhaps_lifted = false;    // that failed, and may be done all the same
        bool writing = false;
        std::optional<Time> retry_at;
        Micros retry_in{0};
    };
    Limit limit_;
    bool ends_ = false;  // the controller

    Time found_at_;
    GuestStatistics statistics_;  // where there is no agent

    bool had_agent_ = false;  // since it was found: one that takes policies
    bool agent_connected_ = false;
    Time agent_up_at_;    // since when
    Time agent_gone_at_;  // and since when not any more
    proto::AgentInfo agent_info_;
    std::optional<TalkToAgent> agent_order_;
    std::optional<Claimed> claimed_;
    std::optional<Time> contradicts_since_;  // the guest's claims do not fit the host bytes
    std::optional<Time> lied_at_;            // last time
    std::optional<Time> costly_at_;          // last time

    std::optional<HostBytes> host_;
    Time host_at_;         // when it was measured
    ReturnWatch returns_;  // what the guest freed and the host still holds

    std::map<std::string, std::string, std::less<>> marks_;  // word -> sentence
    History history_;
    // Lines for the log: a burst, then one in half a minute. `explain` has the rest.
    proto::RateBudget log_budget_{20, Seconds(30)};
    uint64_t lines_left_out_ = 0;  // since the last one
};

}  // namespace acma::host
