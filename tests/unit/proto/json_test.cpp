// SPDX-License-Identifier: Apache-2.0
#include "proto/json.h"

#include <gtest/gtest.h>

namespace acma::proto {
namespace {

constexpr JsonLimits k_limits{.bytes = 1000, .depth = 4, .values = 8};

std::string error_of(std::string_view text) {
    const auto parsed = parse_json(text, k_limits);
    return parsed ? "" : parsed.error().message;
}

TEST(ParseJson, TakesAnObject) {
    const auto parsed = parse_json(R"( {"a": [1, "x", true, null]} )", k_limits);
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ((*parsed)["a"].size(), 4U);
}

TEST(ParseJson, RefusesWhatIsNotOneObject) {
    for (const auto* text :
         {"",           " ",          "1",           "\"x\"",      "null",       "[]",
          "[{}]",       "{} {}",      "{}x",         "{},",        "{",          "}",
          "{\"a\"}",    "{\"a\":}",   "{a:1}",       "{'a':1}",    "{\"a\":1,}", "{\"a\":01}",
          "{\"a\":+1}", "{\"a\":.5}", "{\"a\":tru}", "{\"a\":\"x}"}) {
        EXPECT_NE(error_of(text), "") << text;
    }
}

TEST(ParseJson, RefusesWhatOnlyLenientParsersTake) {
    for (const auto* text :
         {"{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":-Infinity}", "{\"a\":1e999}", "{/*c*/\"a\":1}",
          "{\"a\":1}//c", "{\"a\":1 // c\n}"}) {
        EXPECT_NE(error_of(text), "") << text;
    }
}

TEST(ParseJson, TakesEveryFormOfNumber) {
    EXPECT_EQ(error_of(R"({"a":[0,-0,10,0.5,-1.25,1e5,1E+5,2.5e-3]})"), "");
    for (const auto* number : {"00", "01", "-01", "+1", "-", "1.", ".5", "1.e5", "1e", "1e+", "1-2",
                               "0x10", "1e5.5", "--1"}) {
        EXPECT_NE(error_of(std::string("{\"a\":") + number + "}"), "") << number;
    }
}

TEST(ParseJson, RefusesControlCharactersInStrings) {
    EXPECT_NE(error_of("{\"a\":\"x\ty\"}"), "");
    EXPECT_NE(error_of(std::string("{\"a\":\"x\0y\"}", 11)), "");
    EXPECT_EQ(error_of("{\"a\":\"x\\ty\",\t\"b\":1}"), "");
}

TEST(ParseJson, RefusesDuplicateKeysAtAnyDepth) {
    EXPECT_NE(error_of(R"({"a":1,"a":2})").find("Duplicate key"), std::string::npos);
    EXPECT_NE(error_of(R"({"b":{"a":1,"\u0061":2}})").find("Duplicate key"), std::string::npos);
}

TEST(ParseJson, BoundsDepthExactly) {
    EXPECT_EQ(error_of(R"({"a":[[["x"]]]})"), "");
    EXPECT_EQ(error_of(R"({"a":[[[["x"]]]]})"), "JSON parse error, nested deeper than 4");
    EXPECT_EQ(error_of(R"({"a":"[[[[[[[["})"), "");
    EXPECT_EQ(error_of(R"({"a":"\"[[[[[[[["})"), "");
    EXPECT_EQ(error_of(R"({"a":"\\","b":[[[[]]]]})"), "JSON parse error, nested deeper than 4");
}

TEST(ParseJson, BoundsTheNumberOfValues) {
    EXPECT_EQ(error_of(R"({"a":[1,2,3,4,5,6,7,8]})"), "");
    EXPECT_EQ(error_of(R"({"a":[1,2,3,4,5,6,7,8,9]})"), "JSON parse error, more values than 8");
    EXPECT_EQ(error_of(R"({"a":",,,,,,,,,,,::::"})"), "");
}

TEST(ParseJson, BoundsBytes) {
    const std::string fits = "{\"a\":\"" + std::string(992, 'x') + "\"}";
    ASSERT_EQ(fits.size(), k_limits.bytes);
    EXPECT_EQ(error_of(fits), "");
    const auto longer = parse_json(fits + " ", k_limits);
    ASSERT_FALSE(longer.ok());
    EXPECT_EQ(longer.error().code, ErrorCode::too_large);
}

TEST(ParseJson, RefusesBytesThatAreNotUtf8) {
    EXPECT_EQ(error_of("{\"a\":\"\xC3\"}"), "JSON parse error, bytes that are not UTF-8");
    EXPECT_EQ(error_of("{\"a\":\"\xFF\"}"), "JSON parse error, bytes that are not UTF-8");
}

TEST(ParseJson, ErrorsAreOneShortPrintableLine) {
    const std::string error = error_of("{\"a\":" + std::string(900, 'q') + "\x01\n}");
    EXPECT_LT(error.size(), 250U);
    EXPECT_EQ(error.find('\n'), std::string::npos);
    EXPECT_EQ(error.find('*'), std::string::npos);
    EXPECT_EQ(error.rfind("JSON parse error, Line 1, Column 6 Syntax error", 0), 0U) << error;
}

TEST(ParseJson, SurvivesEveryTruncation) {
    const std::string whole = R"({"a":["\u00e9\n",-1.5e3,{"b":true}]})";
    ASSERT_EQ(error_of(whole), "");
    for (size_t size = 0; size < whole.size(); ++size) {
        EXPECT_NE(error_of(whole.substr(0, size)), "") << size;
    }
}

std::string written(Layout layout) {
    JsonWriter writer(layout);
    writer.begin_object();
    writer.name("b");
    writer.number(uint64_t{18446744073709551615U});
    writer.name("a");
    writer.begin_array();
    writer.number(int64_t{-1});
    writer.begin_object();
    writer.end_object();
    writer.begin_array();
    writer.end_array();
    writer.boolean(true);
    writer.end_array();
    writer.name("t");
    writer.text("x");
    writer.end_object();
    return writer.take();
}

TEST(JsonWriter, KeepsTheOrderAndWritesOneLine) {
    EXPECT_EQ(written(Layout::line), R"({"b":18446744073709551615,"a":[-1,{},[],true],"t":"x"})");
}

TEST(JsonWriter, IndentsForPeople) {
    EXPECT_EQ(written(Layout::indented), R"({
  "b": 18446744073709551615,
  "a": [
    -1,
    {},
    [],
    true
  ],
  "t": "x"
}
)");
}

TEST(JsonWriter, EscapesWhatJsonDemands) {
    JsonWriter writer(Layout::line);
    std::string text;
    for (char c = 0; c < 0x20; ++c) {
        text += c;
    }
    text += "\"\\/\x7F\xC3\xA9\xF0\x9F\x90\xA7";
    writer.begin_object();
    writer.name(text);
    writer.text(text);
    writer.end_object();
    const std::string line = writer.take();
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto back = parse_json(line, k_limits);
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ(back->getMemberNames(), std::vector{text});
    EXPECT_EQ((*back)[text].asString(), text);
}

}  // namespace
}  // namespace acma::proto
