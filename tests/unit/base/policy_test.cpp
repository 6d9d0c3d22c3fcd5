// SPDX-License-Identifier: Apache-2.0
#include "engine/policy/policy.h"

#include <gtest/gtest.h>

namespace acma {
namespace {

TEST(ParseSize, TakesLibvirtAndDamonUnits) {
    EXPECT_EQ(parse_size("512MiB").value(), 512_MiB);
    EXPECT_EQ(parse_size("4 GiB").value(), 4_GiB);
    EXPECT_EQ(parse_size("4G").value(), 4_GiB);
    EXPECT_EQ(parse_size("100K").value(), 100_KiB);
}

TEST(ParseSize, RefusesWhatItWouldHaveToGuess) {
    for (const auto* text : {"", "512", "MiB", "-1MiB", "1.5GiB", "4GB", "1 MiB x",
                             "99999999999999999999GiB", "18446744073709551615TiB"}) {
        EXPECT_FALSE(parse_size(text).ok()) << text;
    }
}

TEST(ParseSize, ErrorNamesTheTextButNotAWholeDocument) {
    EXPECT_NE(parse_size("12 furlongs").error().message.find("12 furlongs"), std::string::npos);
    EXPECT_LT(parse_size(std::string(100'000, '7')).error().message.size(), 200U);
}

TEST(FormatSize, RoundTrips) {
    for (const Bytes size : {1_KiB, 512_MiB, 1536_MiB, 4_GiB, Bytes(1) * 1024 * 1025}) {
        EXPECT_EQ(parse_size(format_size(size)).value(), size);
    }
}

TEST(ParsePsi, TakesPercentWithTwoDecimals) {
    EXPECT_EQ(parse_psi("0.1%").value(), 10_bp);
    EXPECT_EQ(parse_psi("0.01 %").value(), 1_bp);
    EXPECT_EQ(parse_psi("1%").value(), 100_bp);
    EXPECT_EQ(parse_psi("100%").value(), 10000_bp);
    EXPECT_EQ(parse_psi("2.50%").value(), 250_bp);
}

TEST(ParsePsi, RefusesZeroOverHundredAndNoUnit) {
    for (const auto* text : {"0%", "0.00%", "101%", "100.01%", "0.1", "0.001%", "1.%", "x%", ""}) {
        EXPECT_FALSE(parse_psi(text).ok()) << text;
    }
}

TEST(FormatPsi, RoundTrips) {
    for (uint64_t bp = 1; bp <= 10'000; ++bp) {
        ASSERT_EQ(parse_psi(format_psi(BasisPoints(bp))).value(), BasisPoints(bp));
    }
}

TEST(ValidatePolicy, NamesBothSidesOfAContradiction) {
    const auto status = validate(Policy{.min_mem = 2_GiB, .max_mem = 1_GiB});
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("min-mem 2 GiB"), std::string::npos);
    EXPECT_NE(status.error().message.find("max-mem 1 GiB"), std::string::npos);
}

TEST(ValidatePolicy, RefusesOutOfRangeFields) {
    const Policy good{.min_mem = 512_MiB, .max_mem = 1_GiB};
    EXPECT_TRUE(validate(good).ok());
    auto bad = good;
    bad.psi = 0_bp;
    EXPECT_FALSE(validate(bad).ok());
    bad.psi = 10001_bp;
    EXPECT_FALSE(validate(bad).ok());
    bad = good;
    bad.shares = 0;
    EXPECT_FALSE(validate(bad).ok());
    bad = good;
    bad.min_mem = 1_MiB;
    EXPECT_FALSE(validate(bad).ok());
}

}  // namespace
}  // namespace acma
