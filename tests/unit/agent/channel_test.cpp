// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/channel.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/temp_dir.h"

namespace acma::agent {
namespace {

// A killed agent answers on its socket until the kernel has closed its files.
TEST(Channels, ListensOnceTheAgentBeforeItIsGone) {
    const testing::TempDir dir;
    const std::string path = dir.path("agent.sock");
    std::vector<Problem> problems;
    std::optional<Channels> first;
    first.emplace("no.such.port", path, proto::AgentInfo{}, problems);
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_EQ(problems[0].what, "no-channel");
    ASSERT_TRUE(first->listen().ok());
    EXPECT_TRUE(first->listen().ok()) << "it does already";

    Channels second("no.such.port", path, proto::AgentInfo{}, problems);
    const Status refused = second.listen();
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().message, "another acma-agent already serves " + path);
    first.reset();
    EXPECT_TRUE(second.listen().ok());
    EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(Channels, SaysWhyItCannotListen) {
    std::vector<Problem> problems;
    Channels channels("no.such.port", "/proc/agent.sock", proto::AgentInfo{}, problems);
    const Status refused = channels.listen();
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find("listen on /proc/agent.sock"), std::string::npos);
}

}  // namespace
}  // namespace acma::agent
