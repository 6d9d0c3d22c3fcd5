// SPDX-License-Identifier: Apache-2.0
// The controller's ports without an outside: each call is written down, and the test says what
// comes of it.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "host-controller/ports.h"

namespace acma::fakes {

class FakeHypervisor final : public host::Hypervisor {
  public:
    struct Call {
        std::string what;  // "balloon", "limit", "plug", "policy", "note"
        host::VmId vm;
        Bytes target;
        Policy policy;
        host::StateNote note;
        host::Done done;
        host::LimitChange limit = {};
        host::PlugChange plug = {};
    };
    std::deque<Call> calls;
    struct Question {
        host::VmId vm;
        host::ReadStatistics order;
        host::StatisticsDone done;
    };
    std::deque<Question> questions;  // for statistics

    void set_balloon(const host::VmId& vm, Bytes target, host::Done done) override {
        calls.push_back({"balloon", vm, target, {}, {}, std::move(done)});
    }
    void set_limit(const host::VmId& vm, const host::LimitChange& change,
                   host::LimitDone done) override {
        host::Done as_asked = [done = std::move(done),
                               limit = change.limit](const Status& outcome) {
            done(outcome ? Result(limit) : Result<std::optional<Bytes>>(outcome.error()));
        };
        calls.push_back({"limit", vm, {}, {}, change.note, std::move(as_asked), change});
    }
    void set_requested(const host::VmId& vm, const host::PlugChange& change,
                       host::PlugDone done) override {
        host::Done as_asked = [done = std::move(done),
                               size = change.order.requested](const Status& outcome) {
            done(outcome ? Result(size) : Result<Bytes>(outcome.error()));
        };
        calls.push_back({"plug", vm, {}, {}, change.note, std::move(as_asked), {}, change});
    }
    void set_policy(const host::VmId& vm, const Policy& policy, host::Done done) override {
        calls.push_back({"policy", vm, {}, policy, {}, std::move(done)});
    }
    void write_note(const host::VmId& vm, const host::StateNote& note, host::Done done) override {
        calls.push_back({"note", vm, {}, {}, note, std::move(done)});
    }
    void read_statistics(const host::VmId& vm, host::ReadStatistics order,
                         host::StatisticsDone done) override {
        questions.push_back({vm, order, std::move(done)});
    }
    std::deque<std::pair<host::VmId, host::GuestAgentDone>> guest_agents;
    void read_guest_agent(const host::VmId& vm, host::GuestAgentDone done) override {
        guest_agents.emplace_back(vm, std::move(done));
    }
    // The oldest call ends; returns it.
    Call finish(const Status& outcome = {}) {
        Call call = std::move(calls.front());
        calls.pop_front();
        call.done(outcome);
        return call;
    }
};

class FakeAgentLinks final : public host::AgentLinks {
  public:
    std::map<host::VmId, host::TalkToAgent> orders;
    std::vector<host::VmId> left;

    void talk(const host::VmId& vm, const host::TalkToAgent& order) override { orders[vm] = order; }
    void leave(const host::VmId& vm) override {
        orders.erase(vm);
        left.push_back(vm);
    }
    Micros each_costs{0};
    [[nodiscard]] Micros cost(const host::VmId&) const override { return each_costs; }
};

class FakeHostMemory final : public host::HostMemory {
  public:
    std::map<host::VmId, std::vector<Bytes>> watched;

    void watch(const host::VmId& vm, std::string, std::vector<Bytes> ram_blocks) override {
        watched[vm] = std::move(ram_blocks);
    }
    void unwatch(const host::VmId& vm) override { watched.erase(vm); }
};

}  // namespace acma::fakes
