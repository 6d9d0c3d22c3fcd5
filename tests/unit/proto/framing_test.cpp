// SPDX-License-Identifier: Apache-2.0
#include "proto/framing.h"

#include <vector>

#include <gtest/gtest.h>

namespace acma::proto {
namespace {

using Kind = Frame::Kind;
using Frames = std::vector<Frame>;

Frames feed(LineReader& reader, std::string_view bytes) {
    Frames frames;
    while (auto frame = reader.next(bytes)) {
        frames.push_back(*frame);
    }
    EXPECT_TRUE(bytes.empty());
    return frames;
}

Frames feed_one_by_one(LineReader& reader, std::string_view bytes) {
    Frames frames;
    for (const char& byte : bytes) {
        for (auto& frame : feed(reader, {&byte, 1})) {
            frames.push_back(frame);
        }
    }
    return frames;
}

TEST(LineReader, CutsAtNewlines) {
    LineReader reader(100);
    EXPECT_EQ(feed(reader, "{\"a\":1}\n{}\n"),
              (Frames{{Kind::line, "{\"a\":1}"}, {Kind::line, "{}"}}));
}

TEST(LineReader, JoinsWhatComesInPieces) {
    LineReader reader(100);
    EXPECT_EQ(feed(reader, "{\"exe"), Frames{});
    EXPECT_EQ(feed(reader, "cute\":"), Frames{});
    EXPECT_EQ(feed(reader, "1}\n"), (Frames{{Kind::line, "{\"execute\":1}"}}));
}

TEST(LineReader, SkipsBlankLines) {
    LineReader reader(100);
    EXPECT_EQ(feed(reader, "\n\r\n \t\n{}\r\n"), (Frames{{Kind::line, "{}\r"}}));
}

TEST(LineReader, SentinelDropsWhatWasBegun) {
    LineReader reader(100);
    EXPECT_EQ(feed(reader, "{\"half\":\xFF{}\n"),
              (Frames{{Kind::sentinel, ""}, {Kind::line, "{}"}}));
    EXPECT_EQ(feed(reader, "\xFF\xFF"), (Frames{{Kind::sentinel, ""}, {Kind::sentinel, ""}}));
}

TEST(LineReader, ReportsALongLineOnceAndSkipsToTheNextNewline) {
    LineReader reader(4);
    EXPECT_EQ(feed(reader, "1234\n"), (Frames{{Kind::line, "1234"}}));
    EXPECT_EQ(feed(reader, "12345"), (Frames{{Kind::too_long, ""}}));
    EXPECT_EQ(feed(reader, "6789 123456789"), Frames{});
    EXPECT_EQ(feed(reader, "\nok\n"), (Frames{{Kind::line, "ok"}}));
}

TEST(LineReader, SentinelEndsALongLine) {
    LineReader reader(4);
    EXPECT_EQ(feed(reader, "123456\xFFok\n"),
              (Frames{{Kind::too_long, ""}, {Kind::sentinel, ""}, {Kind::line, "ok"}}));
}

TEST(LineReader, SeesTheSameFramesHoweverTheBytesAreCut) {
    constexpr std::string_view k_stream = "a\n\n12345678\nb\xFF\xFFhalf\xFF{}\r\n123456789\xFFz\n";
    LineReader whole(5);
    LineReader pieces(5);
    EXPECT_EQ(feed(whole, k_stream), feed_one_by_one(pieces, k_stream));
}

TEST(LineReader, TakesOnlyUpToTheEndOfTheFrame) {
    LineReader reader(100);
    std::string_view bytes = "a\nb\n";
    EXPECT_EQ(reader.next(bytes), (Frame{Kind::line, "a"}));
    EXPECT_EQ(bytes, "b\n");
}

}  // namespace
}  // namespace acma::proto
