// SPDX-License-Identifier: Apache-2.0
#include "proto/document.h"

#include <gtest/gtest.h>

#include "proto/status_json.h"
#include "tests/unit/proto/samples.h"

namespace acma::proto {
namespace {

template <typename T>
void expect_round_trip(const T& document) {
    for (const Layout layout : {Layout::line, Layout::indented}) {
        const auto back = from_json<T>(to_json(document, layout));
        ASSERT_TRUE(back.ok()) << back.error().message;
        EXPECT_EQ(*back, document);
    }
    EXPECT_EQ(to_json(document).find('\n'), std::string::npos);
    EXPECT_EQ(to_json(document, Layout::indented).back(), '\n');
}

TEST(Documents, RoundTrip) {
    expect_round_trip(samples::status());
    expect_round_trip(samples::vm_list());
    expect_round_trip(samples::vm_detail());
    expect_round_trip(samples::explanation());
    expect_round_trip(samples::host());
    expect_round_trip(samples::policy_change());
    expect_round_trip(samples::reservation_list());
    expect_round_trip(samples::reservation_request());
    expect_round_trip(samples::api_error());
    expect_round_trip(samples::usage_report());
    expect_round_trip(samples::history_report());
}

TEST(Documents, RoundTripWhereOptionalPartsAreMissing) {
    expect_round_trip(VmDetail{});
    expect_round_trip(PolicyChange{});
    EXPECT_EQ(to_json(PolicyChange{}), "{}");
    EXPECT_EQ(to_json(VmDetail{}).find("age_us"), std::string::npos);
}

TEST(Documents, IgnoreUnknownFieldsExceptWhereWishesAreRead) {
    EXPECT_TRUE(from_json<PolicyChange>(R"({"psi_pb":5})").ok());
    const auto strict = from_json_strict<PolicyChange>(R"({"psi_pb":5})");
    ASSERT_FALSE(strict.ok());
    EXPECT_EQ(strict.error().message, "Parameter 'psi_pb' is unexpected");
    EXPECT_EQ(from_json_strict<PolicyChange>(R"({"psi_bp":5})").value().psi, 5_bp);
    EXPECT_FALSE(from_json_strict<PolicyChange>(R"({"mode":"turbo"})").ok());
}

TEST(Documents, HoldAThousandVms) {
    VmList list = samples::vm_list();
    list.vms.assign(1000, samples::summary());
    expect_round_trip(list);
}

TEST(Documents, HoldTheUsageOfAllThatRanInAYear) {
    UsageReport report = samples::usage_report();
    report.vms.assign(50'000, report.vms[0]);
    for (UsageEntry& vm : report.vms) {
        vm.used_mib_seconds = vm.above_min_mib_seconds = 1'000'000'000'000'000'000;
        vm.name.assign(64, 'n');
    }
    expect_round_trip(report);
}

TEST(Documents, RefuseGarbage) {
    for (const auto* text : {"", "[]", "{", R"({"vms":{}})", R"({"controller_version":1})"}) {
        EXPECT_FALSE(from_json<VmList>(text).ok()) << text;
    }
}

TEST(VmStates, HaveOneNameEach) {
    for (const VmState state :
         {VmState::managed, VmState::observed, VmState::off, VmState::unmanaged, VmState::marked}) {
        EXPECT_EQ(parse_vm_state(to_string(state)), state);
    }
    EXPECT_EQ(parse_vm_state("turbo"), std::nullopt);
}

}  // namespace
}  // namespace acma::proto
