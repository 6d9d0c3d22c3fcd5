// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metadata/policy_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pugixml.hpp>

namespace acma::host {
namespace {

using testing::HasSubstr;

constexpr const char* k_good =
    R"(<acma:policy xmlns:acma="urn:acma:policy:1" min-mem="512MiB" max-mem="4GiB" psi="0.1%" shares="500" mode="observe"/>)";

// Of a <metadata> element, or of what is in one.
Result<std::optional<Policy>> policy_in(const std::string& xml) {
    pugi::xml_document document;
    EXPECT_TRUE(document.load_string(xml.c_str())) << xml;
    const pugi::xml_node metadata = document.child("metadata");
    return read_policy(metadata ? metadata : document);
}
std::string error_of(const std::string& xml) {
    const auto policy = policy_in(xml);
    return policy ? "no error" : policy.error().message;
}
std::string with(const std::string& attributes) {
    return "<acma:policy xmlns:acma=\"urn:acma:policy:1\" " + attributes + "/>";
}

TEST(PolicyXml, ReadsEveryAttribute) {
    const auto policy = policy_in(k_good);
    ASSERT_TRUE(policy) << policy.error().message;
    ASSERT_TRUE(*policy);
    EXPECT_EQ(**policy, (Policy{512_MiB, 4_GiB, 10_bp, 500, Mode::observe}));
}

TEST(PolicyXml, MeansAutoWithoutAModeAndDefaultsElsewhere) {
    const auto policy = policy_in(with(R"(min-mem="1GiB" max-mem="2GiB")"));
    ASSERT_TRUE(policy && *policy);
    EXPECT_EQ(**policy, (Policy{1_GiB, 2_GiB, 10_bp, 1000, Mode::automatic}));
}

TEST(PolicyXml, TakesAnyPrefixAndTheDefaultNamespace) {
    for (
        const char* xml : {
            R"(<x:policy xmlns:x="urn:acma:policy:1" min-mem="1GiB" max-mem="2GiB"/>)",
            R"(<policy xmlns="urn:acma:policy:1" min-mem="1GiB" max-mem="2GiB"/>)",
            R"(<metadata xmlns:x="urn:acma:policy:1"><x:policy min-mem="1GiB" max-mem="2GiB"/></metadata>)",
        }) {
        const auto policy = policy_in(xml);
        EXPECT_TRUE(policy && *policy) << xml;
    }
}

TEST(PolicyXml, IsNoErrorWhenThereIsNoPolicy) {
    const auto policy = policy_in(
        R"(<metadata><nova:instance xmlns:nova="http://openstack.org/nova"><nova:policy/></nova:instance></metadata>)");
    ASSERT_TRUE(policy) << policy.error().message;
    EXPECT_FALSE(*policy);
}

TEST(PolicyXml, LeavesOtherToolsPoliciesAlone) {
    const auto policy =
        policy_in(R"(<metadata><b:policy xmlns:b="urn:backup" min="1"/></metadata>)");
    ASSERT_TRUE(policy);
    EXPECT_FALSE(*policy);
}

TEST(PolicyXml, NamesTheUnknownAttribute) {
    EXPECT_THAT(error_of(with(R"(min-mem="1GiB" max-mem="2GiB" max-mme="3GiB")")),
                HasSubstr("unknown attribute 'max-mme'"));
}

TEST(PolicyXml, NamesTheAttributeWithTheBadValue) {
    EXPECT_THAT(error_of(with(R"(min-mem="512" max-mem="2GiB")")),
                HasSubstr("attribute min-mem: size '512' has no unit"));
    EXPECT_THAT(error_of(with(R"(min-mem="1GiB" max-mem="2GiB" psi="0%")")),
                HasSubstr("attribute psi"));
    EXPECT_THAT(error_of(with(R"(min-mem="1GiB" max-mem="2GiB" psi="101%")")),
                HasSubstr("attribute psi"));
    EXPECT_THAT(error_of(with(R"(min-mem="1GiB" max-mem="2GiB" shares="-1")")),
                HasSubstr("attribute shares"));
    EXPECT_THAT(error_of(with(R"(min-mem="1GiB" max-mem="2GiB" mode="on")")),
                HasSubstr("attribute mode"));
    EXPECT_THAT(error_of(with(R"(min-mem="99999999999999999999GiB" max-mem="2GiB")")),
                HasSubstr("attribute min-mem"));
}

TEST(PolicyXml, RefusesMinAboveMaxWithBothValues) {
    EXPECT_THAT(error_of(with(R"(min-mem="2GiB" max-mem="1GiB")")),
                HasSubstr("min-mem 2 GiB is above max-mem 1 GiB"));
}

TEST(PolicyXml, SaysWhichBoundIsMissing) {
    EXPECT_THAT(error_of(with(R"(max-mem="1GiB")")), HasSubstr("min-mem is missing"));
    EXPECT_THAT(error_of(with(R"(min-mem="1GiB")")), HasSubstr("max-mem is missing"));
}

TEST(PolicyXml, RefusesAnAttributeThatIsGivenTwice) {
    EXPECT_THAT(error_of(with(R"(min-mem="1GiB" min-mem="1GiB" max-mem="2GiB")")),
                HasSubstr("'min-mem' is given twice"));
}

TEST(PolicyXml, RefusesElementsAndTextInside) {
    EXPECT_THAT(
        error_of(
            R"(<policy xmlns="urn:acma:policy:1" min-mem="1GiB" max-mem="2GiB"><psi/></policy>)"),
        HasSubstr("element 'psi' inside policy"));
    EXPECT_THAT(
        error_of(
            R"(<policy xmlns="urn:acma:policy:1" min-mem="1GiB" max-mem="2GiB">4GiB</policy>)"),
        HasSubstr("text '4GiB' inside policy"));
}

TEST(PolicyXml, NamesTheWrongNamespace) {
    EXPECT_THAT(
        error_of(R"(<acma:policy xmlns:acma="urn:acma:policy:2" min-mem="1GiB" max-mem="2GiB"/>)"),
        HasSubstr("is in namespace 'urn:acma:policy:2', not urn:acma:policy:1"));
    EXPECT_THAT(error_of(R"(<acma:policy min-mem="1GiB" max-mem="2GiB"/>)"),
                HasSubstr("is in namespace '', not urn:acma:policy:1"));
}

TEST(PolicyXml, NamesAnotherElementInOurNamespace) {
    EXPECT_THAT(error_of(R"(<acma:polcy xmlns:acma="urn:acma:policy:1" min-mem="1GiB"/>)"),
                HasSubstr("element 'acma:polcy' in namespace urn:acma:policy:1 is not 'policy'"));
}

TEST(PolicyXml, RefusesTwoPolicies) {
    EXPECT_THAT(error_of(std::string("<metadata>") + k_good + k_good + "</metadata>"),
                HasSubstr("two policy elements"));
}

TEST(PolicyXml, RefusesAHugeElementWhateverIsInIt) {
    for (const std::string& much : {" psi=\"" + std::string(20'000, '1') + "%\"/>",
                                    " xmlns:" + std::string(20'000, 'x') + "=\"\"/>",
                                    "><" + std::string(20'000, 'x') + "/></policy>"}) {
        const auto policy =
            policy_in(R"(<policy xmlns="urn:acma:policy:1" min-mem="1GiB" max-mem="2GiB")" + much);
        ASSERT_FALSE(policy);
        EXPECT_EQ(policy.error().code, ErrorCode::too_large);
        EXPECT_THAT(policy.error().message, HasSubstr("bytes of XML, more than 16384"));
    }
}

TEST(PolicyXml, CutsAHostileValueShortInTheMessage) {
    EXPECT_LT(error_of(with("min-mem=\"" + std::string(5000, 'x') + "\" max-mem=\"1GiB\"")).size(),
              300U);
}

TEST(PolicyXml, ReadsBackWhatItWrites) {
    const Policy policy{768_MiB, 3_GiB, 125_bp, 250, Mode::off};
    // libvirt adds the namespace to what it is given.
    const std::string written = write_policy_xml(policy);
    const std::string stored =
        "<acma:policy xmlns:acma=\"urn:acma:policy:1\"" + written.substr(sizeof "<policy" - 1);
    const auto read = policy_in(stored);
    ASSERT_TRUE(read && *read);
    EXPECT_EQ(**read, policy);
}

TEST(StateNote, IsReadFromItsOwnNamespaceOnly) {
    const auto noted = [](const char* xml) {
        pugi::xml_document document;
        document.load_string(xml);
        return read_state_note(document.child("metadata")).target;
    };
    EXPECT_EQ(noted(R"(<metadata><s:state xmlns:s="urn:acma:state:1" target="1GiB"/></metadata>)"),
              1_GiB);
    EXPECT_EQ(noted(R"(<metadata><s:state xmlns:s="urn:other" target="1GiB"/></metadata>)"),
              std::nullopt);
    EXPECT_EQ(noted(R"(<metadata><s:state xmlns:s="urn:acma:state:1" target="x"/></metadata>)"),
              std::nullopt);
    EXPECT_EQ(noted("<metadata/>"), std::nullopt);
}

TEST(StateNote, ReadsBackWhatItWrites) {
    for (const StateNote& note :
         {StateNote{}, StateNote{1_GiB, false}, StateNote{1_GiB, true},
          StateNote{std::nullopt, true}, StateNote{1_GiB, true, {1_GiB}},
          StateNote{std::nullopt, false, {1_GiB, 1025_MiB}},
          StateNote{std::nullopt,
                    true,
                    {},
                    {{"virtiomem0", 1_GiB, {512_MiB, Bytes(0)}}, {"ua-b", Bytes(0), {2_MiB}}}}}) {
        const std::string written = write_state_xml(note);
        const std::string stored = "<metadata><s:state xmlns:s=\"urn:acma:state:1\"" +
                                   written.substr(sizeof "<state" - 1) + "</metadata>";
        pugi::xml_document document;
        ASSERT_TRUE(document.load_string(stored.c_str())) << stored;
        EXPECT_EQ(read_state_note(document.child("metadata")), note) << stored;
    }
}

TEST(StateNote, TakesAnUnknownWordForNothing) {
    pugi::xml_document document;
    document.load_string(
        R"(<metadata><s:state xmlns:s="urn:acma:state:1" agent="x" limits="x 7" devices="a b=1GiB ="  other="y"/></metadata>)");
    EXPECT_EQ(read_state_note(document.child("metadata")), StateNote{});
}

}  // namespace
}  // namespace acma::host
