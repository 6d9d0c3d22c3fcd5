// SPDX-License-Identifier: Apache-2.0
// The real acma-deadman against a file that stands for a kdamond's state.
#include "guest-agent/deadman.h"

#include <csignal>
#include <optional>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "platform/clock.h"
#include "tests/unit/temp_dir.h"

namespace acma::agent {
namespace {

using acma::testing::TempDir;

class DeadmanTest : public ::testing::Test {
  protected:
    void SetUp() override { state_file_ = dir_.write("state", "on\n"); }

    // How long until the file says "off"; nothing after 5 s.
    std::optional<Micros> wait_for_off() {
        const Time start = platform::now();
        while (platform::now() - start < Seconds(5)) {
            if (dir_.read("state").starts_with("off")) {
                return platform::now() - start;
            }
            (void)::poll(nullptr, 0, 10);
        }
        return std::nullopt;
    }

    TempDir dir_;
    std::string state_file_;
};

TEST_F(DeadmanTest, SwitchesOffWhenTheAgentDies) {
    std::optional<Deadman> deadman(std::in_place, ACMA_DEADMAN, state_file_);
    ASSERT_TRUE(deadman->ensure_running().ok());
    deadman->alive();
    deadman.reset();  // closes the pipe, as the agent's death does
    EXPECT_TRUE(wait_for_off().has_value());
}

TEST_F(DeadmanTest, SwitchesOffWithinTwoSecondsWhenTheAgentHangs) {
    Deadman deadman(ACMA_DEADMAN, state_file_);
    ASSERT_TRUE(deadman.ensure_running().ok());
    deadman.alive();
    const auto after = wait_for_off();
    ASSERT_TRUE(after.has_value());
    EXPECT_LT(*after, Seconds(2));
    EXPECT_GT(*after, Millis(k_heartbeat_ms) * 2) << "two late heartbeats are no death";
}

TEST_F(DeadmanTest, StaysQuietWhileDisarmed) {
    Deadman deadman(ACMA_DEADMAN, state_file_);
    ASSERT_TRUE(deadman.ensure_running().ok());
    deadman.alive();
    deadman.disarm();
    (void)::poll(nullptr, 0, 1600);  // longer than its patience
    EXPECT_EQ(dir_.read("state"), "on\n");
}

TEST_F(DeadmanTest, IsStartedAgainWhenItDied) {
    // A program that counts how often it was started, and ends at once.
    const std::string program =
        dir_.write("program", "#!/bin/sh\necho started >>" + dir_.path("starts") + "\n");
    ASSERT_EQ(::chmod(program.c_str(), 0700), 0);
    const auto is_started = [&](const std::string& starts) {
        for (int i = 0; i < 500 && dir_.read("starts") != starts; ++i) {
            (void)::poll(nullptr, 0, 10);
        }
        return dir_.read("starts") == starts;
    };
    Deadman deadman(program, state_file_);
    ASSERT_TRUE(deadman.ensure_running().ok());
    ASSERT_TRUE(is_started("started\n"));
    (void)::poll(nullptr, 0, 200);  // it has ended
    EXPECT_TRUE(deadman.ensure_running().ok());
    EXPECT_TRUE(is_started("started\nstarted\n"));
}

TEST_F(DeadmanTest, SaysWhichProgramIsMissing) {
    Deadman deadman("/nonexistent/acma-deadman", state_file_);
    const Status status = deadman.ensure_running();
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("/nonexistent/acma-deadman"), std::string::npos);
}

}  // namespace
}  // namespace acma::agent
