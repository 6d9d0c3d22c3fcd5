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

TEST(WriteJson, IsOneLineOfAscii) {
    Json::Value value;
    value["b"] = "a\nb\xC3\xA9\xF0\x9F\x90\xA7";
    value["a"] = Json::Value::UInt64{18446744073709551615U};
    EXPECT_EQ(write_json(value, Layout::line),
              R"({"a":18446744073709551615,"b":"a\nb\u00e9\ud83d\udc27"})");
}

TEST(WriteJson, IndentsForPeople) {
    Json::Value value;
    value["a"] = 1;
    EXPECT_EQ(write_json(value, Layout::indented), "{\n  \"a\": 1\n}\n");
}

}  // namespace
}  // namespace acma::proto
