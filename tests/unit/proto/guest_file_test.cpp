// SPDX-License-Identifier: Apache-2.0
#include "proto/guest_file.h"

#include <gtest/gtest.h>

namespace acma::proto {
namespace {

TEST(GuestFile, AsksInTheGuestAgentsWords) {
    EXPECT_EQ(open_file_request("/proc/meminfo"),
              R"({"execute":"guest-file-open","arguments":{"path":"/proc/meminfo","mode":"r"}})");
    EXPECT_EQ(read_file_request(1000, 4096),
              R"({"execute":"guest-file-read","arguments":{"handle":1000,"count":4096}})");
    EXPECT_EQ(close_file_request(1000),
              R"({"execute":"guest-file-close","arguments":{"handle":1000}})");
}

TEST(GuestFile, ReadsItsReplies) {
    EXPECT_EQ(*opened_file(R"({"return": 1000})"), 1000);
    const auto content =
        read_from_file(R"({"return": {"count": 5, "buf-b64": "aGVsbG8=", "eof": true}})", 5);
    ASSERT_TRUE(content) << content.error().message;
    EXPECT_EQ(*content, "hello");
    EXPECT_EQ(*read_from_file(R"({"return": {"buf-b64": "aGVsbG8h"}})", 6), "hello!");
    EXPECT_EQ(*read_from_file(R"({"return": {"buf-b64": ""}})", 6), "");
}

TEST(GuestFile, RefusesWhatIsNoAnswer) {
    for (const char* reply : {"", "x", "{}", R"({"return": "1000"})", R"({"return": 1e99})",
                              R"({"error": {"class": "GenericError", "desc": "no"}})"}) {
        EXPECT_FALSE(opened_file(reply)) << reply;
    }
    for (const char* reply :
         {"", "{}", R"({"return": 1})", R"({"return": {}})", R"({"return": {"buf-b64": 1}})",
          R"({"return": {"buf-b64": "aGVsbG8"}})", R"({"return": {"buf-b64": "aGV*"}})",
          R"({"return": {"buf-b64": "aGVsbG8hISE="}})"}) {
        EXPECT_FALSE(read_from_file(reply, 6)) << reply;
    }
}

}  // namespace
}  // namespace acma::proto
