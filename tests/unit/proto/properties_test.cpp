// SPDX-License-Identifier: Apache-2.0
// What holds for any value and any bytes.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "proto/client_session.h"
#include "proto/lists.h"
#include "proto/server_session.h"
#include "proto/status_json.h"
#include "proto/text.h"

namespace acma::proto {
namespace {

constexpr Time k_start{Seconds(1000)};

// --- generators -----------------------------------------------------------------------------

rc::Gen<uint64_t> number(uint64_t least = 0, uint64_t most = ~uint64_t{0}) {
    return rc::gen::oneOf(rc::gen::just(least), rc::gen::just(most),
                          rc::gen::map(rc::gen::arbitrary<uint64_t>(), [least, most](uint64_t n) {
                              const uint64_t span = most - least;
                              return span == ~uint64_t{0} ? n : least + n % (span + 1);
                          }));
}

template <typename Q>
rc::Gen<Q> quantity(uint64_t least = 0, uint64_t most = ~uint64_t{0}) {
    return rc::gen::map(number(least, most), [](uint64_t n) { return Q(n); });
}

rc::Gen<Micros> micros() {
    return rc::gen::map(number(0, std::numeric_limits<int64_t>::max()),
                        [](uint64_t n) { return Micros(static_cast<int64_t>(n)); });
}

rc::Gen<std::string> bytes() {
    return rc::gen::container<std::string>(rc::gen::arbitrary<char>());
}

rc::Gen<std::string> text(size_t most) {
    return rc::gen::map(bytes(), [most](const std::string& any) { return clean_text(any, most); });
}

template <typename E>
rc::Gen<E> word() {
    return rc::gen::elementOf(std::vector<E>(Words<E>::k_all.begin(), Words<E>::k_all.end()));
}

template <typename T>
rc::Gen<std::vector<T>> up_to(size_t most, rc::Gen<T> element) {
    return rc::gen::map(rc::gen::container<std::vector<T>>(std::move(element)),
                        [most](std::vector<T> all) {
                            all.resize(std::min(all.size(), most));
                            return all;
                        });
}

rc::Gen<Policy> policy(uint64_t least) {
    return rc::gen::build<Policy>(
        rc::gen::set(&Policy::min_mem, quantity<Bytes>(least)),
        rc::gen::set(&Policy::max_mem, quantity<Bytes>(least)),
        rc::gen::set(&Policy::psi, quantity<BasisPoints>(1, 10'000)),
        rc::gen::set(&Policy::shares,
                     rc::gen::map(number(1, k_max_shares),
                                  [](uint64_t n) { return static_cast<uint32_t>(n); })),
        rc::gen::set(&Policy::mode, word<Mode>()));
}

rc::Gen<SetPolicy> set_policy() {
    return rc::gen::map(
        rc::gen::tuple(policy(k_least_min_mem.count()), number(), number()),
        [](const std::tuple<Policy, uint64_t, uint64_t>& any) {
            auto [policy, grant, generation] = any;
            const auto [low, high] = std::minmax(policy.min_mem, policy.max_mem);
            const Bytes min = low;
            const Bytes max = high;
            policy.min_mem = min;
            policy.max_mem = max;
            return SetPolicy{policy, std::clamp(Bytes(grant), min, max), generation};
        });
}

rc::Gen<AgentStatus> status() {
    const auto size = quantity<Bytes>();
    const auto problem =
        rc::gen::build<Problem>(rc::gen::set(&Problem::what, text(k_max_word)),
                                rc::gen::set(&Problem::message, text(k_max_sentence)));
    return rc::gen::build<AgentStatus>(
        rc::gen::set(&AgentStatus::agent_version, text(k_max_word)),
        rc::gen::set(&AgentStatus::sequence, number()),
        rc::gen::set(&AgentStatus::uptime, micros()),
        rc::gen::set(&AgentStatus::state, word<AgentState>()),
        rc::gen::set(&AgentStatus::reason, text(k_max_sentence)),
        rc::gen::set(&AgentStatus::policy, policy(0)),
        rc::gen::set(&AgentStatus::policy_source, word<PolicySource>()),
        rc::gen::set(&AgentStatus::policy_generation, number()),
        rc::gen::set(&AgentStatus::mem_total, size), rc::gen::set(&AgentStatus::mem_free, size),
        rc::gen::set(&AgentStatus::mem_available, size),
        rc::gen::set(&AgentStatus::swap_total, size), rc::gen::set(&AgentStatus::swap_free, size),
        rc::gen::set(&AgentStatus::swap_in_total, size),
        rc::gen::set(&AgentStatus::swap_out_total, size),
        rc::gen::set(&AgentStatus::refault_total, size),
        rc::gen::set(&AgentStatus::oom_kills_total, number()),
        rc::gen::set(&AgentStatus::psi_some_total, micros()),
        rc::gen::set(&AgentStatus::psi, quantity<BasisPoints>(0, 10'000)),
        rc::gen::set(&AgentStatus::quota_per_s, size),
        rc::gen::set(&AgentStatus::reclaimed_total, size),
        rc::gen::set(&AgentStatus::working_set, size), rc::gen::set(&AgentStatus::owned, size),
        rc::gen::set(&AgentStatus::voluntary, size), rc::gen::set(&AgentStatus::taken_total, size),
        rc::gen::set(&AgentStatus::returned_total, size),
        rc::gen::set(&AgentStatus::problems, up_to(k_max_problems, problem)));
}

rc::Gen<Id> id() {
    return rc::gen::oneOf(
        rc::gen::just(Id{}),
        rc::gen::map(rc::gen::arbitrary<int64_t>(), [](int64_t n) { return Id{n}; }),
        rc::gen::map(text(k_max_id_bytes), [](std::string t) { return Id{std::move(t)}; }));
}

// --- text and framing -----------------------------------------------------------------------

RC_GTEST_PROP(Properties, CleanTextIsCleanBoundedAndStable, (size_t raw_most)) {
    const size_t most = raw_most % 200;
    const std::string clean = clean_text(*bytes(), most);
    RC_ASSERT(clean.size() <= most);
    RC_ASSERT(is_utf8(clean));
    RC_ASSERT(clean_text(clean, most) == clean);
}

RC_GTEST_PROP(Properties, FramesDoNotDependOnHowBytesAreCut, ()) {
    const auto stream =
        *rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab {}\n\n\r\xFF")));
    const auto frames_of = [&stream](const std::function<size_t()>& cut) {
        LineReader reader(4);
        std::vector<Frame> frames;
        for (std::string_view rest = stream; !rest.empty();) {
            std::string_view piece = rest.substr(0, cut());
            rest.remove_prefix(piece.size());
            while (auto frame = reader.next(piece)) {
                frames.push_back(*frame);
            }
        }
        return frames;
    };
    RC_ASSERT(frames_of([] { return size_t{1}; }) ==
              frames_of([&stream] { return stream.size(); }));
    RC_ASSERT(frames_of([] { return *rc::gen::inRange<size_t>(1, 9); }) ==
              frames_of([] { return size_t{1}; }));
}

// --- messages -------------------------------------------------------------------------------

RC_GTEST_PROP(Properties, AnySetPolicyComesThroughTheWire, ()) {
    const Request request{*set_policy(), *id()};
    const auto decoded = decode_request(encode(request));
    RC_ASSERT(std::holds_alternative<Request>(decoded));
    RC_ASSERT(std::get<Request>(decoded) == request);
}

RC_GTEST_PROP(Properties, AnyStatusComesThroughTheWireAndTheDocument, ()) {
    const AgentStatus original = *status();
    const Request request{GetStatus{}, *id()};
    const std::string line = encode(Reply{Return{original}, request.id});
    const auto decoded = decode_reply(line, request);
    RC_ASSERT(decoded.ok());
    RC_ASSERT(*decoded == Outcome(Return{original}));
    RC_ASSERT(from_json<AgentStatus>(to_json(original, Layout::indented)).value() == original);
}

RC_GTEST_PROP(Properties, WhateverTextAStatusHoldsItsEncodingIsTaken, ()) {
    AgentStatus any = *status();
    any.reason = *bytes();
    any.agent_version = *rc::gen::map(bytes(), [](const std::string& s) { return s + s + s; });
    any.problems = {Problem{*bytes(), *bytes()}};
    const Request request{GetStatus{}, {}};
    const std::string line = encode(Reply{Return{any}, {}});
    RC_ASSERT(line.find_first_of("\n\xFF") == std::string::npos);
    const auto once = decode_reply(line, request);
    RC_ASSERT(once.ok());
    RC_ASSERT(encode(Reply{**once, {}}) == line);
}

RC_GTEST_PROP(Properties, AnyBytesGetARequestOrAReadableRefusal, ()) {
    const auto decoded = decode_request(*bytes());
    if (const auto* reply = std::get_if<Reply>(&decoded)) {
        const auto back = decode_reply(encode(*reply), Request{Ping{}, reply->id});
        RC_ASSERT(back.ok());
        RC_ASSERT(*back == reply->outcome);
    }
}

// --- sessions -------------------------------------------------------------------------------

void converse(ClientSession& client, ServerSession& server, Time now) {
    for (std::string out = client.take_output(); !out.empty(); out = client.take_output()) {
        std::string_view bytes = out;
        while (auto request = server.next(bytes, now)) {
            server.reply(*request, Return{AgentStatus{}});
        }
        (void)client.on_bytes(server.take_output(), now);
    }
}

RC_GTEST_PROP(Properties, ChannelRecoversFromAnyNoiseOnBothEnds, ()) {
    Time now = k_start;
    ClientSession client(7, now);
    ServerSession server(own_info("0.1.0"));
    if (*rc::gen::arbitrary<bool>()) {
        converse(client, server, now);
        (void)client.send(GetStatus{}, now);
    }
    const std::string to_client = *bytes();
    const std::string to_server = *bytes();
    (void)client.on_bytes(to_client, now);
    std::string_view rest = to_server;
    while (auto request = server.next(rest, now)) {
        server.reply(*request, Return{AgentStatus{}});
    }
    (void)client.take_output();  // and one message is lost
    for (int tries = 0; tries < 3 && !client.ready() && client.next_deadline(); ++tries) {
        now = *client.next_deadline();
        (void)client.on_time(now);
        converse(client, server, now);
    }
    RC_ASSERT(client.ready() || !client.next_deadline().has_value());
}

RC_GTEST_PROP(Properties, RateBudgetNeverGivesMoreThanItsTerms, ()) {
    RateBudget budget(100, Micros(10));
    Time now = k_start;
    uint64_t taken = 0;
    const auto steps = *rc::gen::container<std::vector<std::pair<uint8_t, uint8_t>>>(
        rc::gen::arbitrary<std::pair<uint8_t, uint8_t>>());
    for (const auto& [wait, amount] : steps) {
        now += Micros(wait);
        budget.spend(amount, now);
        if (budget.overdrawn(now)) {
            break;
        }
        taken += amount;
    }
    RC_ASSERT(taken <= 100 + static_cast<uint64_t>((now - k_start).count()) / 10);
}

}  // namespace
}  // namespace acma::proto
