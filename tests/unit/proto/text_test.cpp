// SPDX-License-Identifier: Apache-2.0
#include "proto/text.h"

#include <gtest/gtest.h>

namespace acma::proto {
namespace {

TEST(IsUtf8, TakesEveryLengthOfCharacter) {
    EXPECT_TRUE(is_utf8(""));
    EXPECT_TRUE(is_utf8("plain"));
    EXPECT_TRUE(is_utf8("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\xA7"));
    EXPECT_TRUE(is_utf8("\xF4\x8F\xBF\xBF"));  // U+10FFFF
}

TEST(IsUtf8, RefusesOverlongSurrogateTruncatedAndStrayBytes) {
    for (const auto* text : {"\xFF", "\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80",
                             "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xC3",
                             "\xE2\x82", "\xF0\x9F\x90", "\xC3(", "\xE2(\xA1"}) {
        EXPECT_FALSE(is_utf8(text)) << text;
    }
}

TEST(CleanText, LeavesGoodTextAlone) {
    EXPECT_EQ(clean_text("psi 0.1 % \xE2\x82\xAC", 64), "psi 0.1 % \xE2\x82\xAC");
}

TEST(CleanText, TurnsControlCharactersIntoSpaces) {
    EXPECT_EQ(clean_text("a\nb\x1B[31mc\x7F", 64), "a b [31mc ");
    EXPECT_EQ(clean_text(std::string_view("a\0b", 3), 64), "a b");
    EXPECT_EQ(clean_text("a\xC2\x9B"
                         "b",
                         64),
              "a b");  // C1: CSI
    EXPECT_EQ(clean_text("a\xE2\x80\xAE"
                         "b",
                         64),
              "a b");  // right-to-left override
    EXPECT_EQ(clean_text("a\xE2\x80\xA8"
                         "b",
                         64),
              "a b");  // line separator
}

TEST(CleanText, ReplacesInvalidBytes) {
    EXPECT_EQ(clean_text("a\xFF"
                         "b",
                         64),
              "a\xEF\xBF\xBD"
              "b");
    EXPECT_EQ(clean_text("\xED\xA0\x80", 64), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(CleanText, CutsBetweenCharacters) {
    EXPECT_EQ(clean_text("abcdef", 3), "abc");
    EXPECT_EQ(clean_text("ab\xE2\x82\xAC"
                         "c",
                         4),
              "ab");
    EXPECT_EQ(clean_text("ab\xE2\x82\xAC"
                         "c",
                         5),
              "ab\xE2\x82\xAC");
    EXPECT_EQ(clean_text("\xFF\xFF", 4), "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace acma::proto
