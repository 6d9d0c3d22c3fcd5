// SPDX-License-Identifier: Apache-2.0
#include "tests/workload/options.h"

#include <array>

#include <gtest/gtest.h>

namespace acma::workload {
namespace {

constexpr std::array<std::string_view, 2> k_known{"--mib", "--seconds"};

Result<Options> parse(std::vector<std::string_view> words) {
    return Options::parse(words, k_known);
}

TEST(WorkloadOptions, KeepsNumbersAndPlainWordsApart) {
    const auto options = parse({"--mib", "12", "200:30"});
    ASSERT_TRUE(options.ok());
    EXPECT_EQ(options->mib("--mib", 0), 12_MiB);
    EXPECT_EQ(options->number("--seconds", 7), 7U);
    EXPECT_EQ(options->words(), std::vector<std::string>{"200:30"});
}

TEST(WorkloadOptions, RefusesWhatItDoesNotKnow) {
    EXPECT_FALSE(parse({"--mb", "12"}).ok());
}

TEST(WorkloadOptions, RefusesAMissingOrBrokenNumber) {
    EXPECT_FALSE(parse({"--mib"}).ok());
    EXPECT_FALSE(parse({"--mib", "-1"}).ok());
    EXPECT_FALSE(parse({"--mib", "12x"}).ok());
    EXPECT_FALSE(parse({"--mib", "99999999999999999999"}).ok());
}

TEST(WorkloadPhases, ReadsHotSetsAndTheirSeconds) {
    const auto phases = parse_phases("200:30,600:20");
    ASSERT_TRUE(phases.ok());
    EXPECT_EQ(*phases, (std::vector<Phase>{{200_MiB, Seconds(30)}, {600_MiB, Seconds(20)}}));
}

TEST(WorkloadPhases, RefusesAnythingElse) {
    for (const char* text : {"", "200", "200:", ":30", "200:30;600:20", "200:30:1", "-1:3"}) {
        EXPECT_FALSE(parse_phases(text).ok()) << text;
    }
}

}  // namespace
}  // namespace acma::workload
