// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/config.h"

#include <gtest/gtest.h>

#include "tests/unit/temp_dir.h"

namespace acma::agent {
namespace {

using acma::testing::TempDir;

TEST(AgentConfig, ReadsEveryKey) {
    const auto config = parse_config(
        "[policy]\npsi = '0.05%'\nmin-mem = '1GiB'\nmax-mem = '8GiB'\nmode = 'observe'\nstandalone "
        "= true\n"
        "[scaling]\nmode = 'power-saving'\n"
        "[channel]\nname = 'org.qemu.guest_agent.0'\nsocket = '/tmp/s'\n",
        "agent.toml");
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->psi, 5_bp);
    EXPECT_EQ(config->min_mem, 1_GiB);
    EXPECT_EQ(config->max_mem, 8_GiB);
    EXPECT_EQ(config->mode, Mode::observe);
    EXPECT_TRUE(config->standalone);
    EXPECT_EQ(config->scaling, Config::Scaling::power_saving);
    EXPECT_EQ(config->channel, "org.qemu.guest_agent.0");
}

struct Bad {
    const char* text;
    const char* named;  // what the error has to name
};

TEST(AgentConfig, NamesFileLineAndKeyOfWhatIsWrong) {
    for (const Bad& bad :
         {Bad{"[policy]\nspi = '0.1%'\n", "agent.toml:2: unknown key policy.spi"},
          Bad{"[polcy]\n", "unknown key polcy"},
          Bad{"psi = '1%'\n", "unknown key psi; known are policy.min-mem, "},
          Bad{"[policy]\npsi = '0%'\n", "agent.toml:2: policy: psi"},
          Bad{"[policy]\npsi = '101%'\n", "above 100 %"},
          Bad{"[policy]\npsi = 0.1\n", "must be a string"},
          Bad{"[policy]\nmin-mem = '512'\n", "has no unit"},
          Bad{"[policy]\nmin-mem = '2GiB'\nmax-mem = '1GiB'\n", "is above"},
          Bad{"[policy]\nmode = 'turbo'\n", "turbo"},
          Bad{"[policy]\nstandalone = 'yes'\n", "true or false"}, Bad{"[policy\n", "agent.toml:1"},
          Bad{"[scaling]\nmode = 'turbo'\n", "scaling: mode: must be \"balloon\" or"},
          Bad{"[channel]\nname = ''\n", "channel: name"},
          Bad{"[channel]\nname = '/dev/vport0p1'\n", "not a path"},
          Bad{"[channel]\nsocket = 'agent.sock'\n", "channel: socket: must be an absolute path"},
          Bad{"[policy]\nmin-mem = '1MiB'\n", "min-mem: 1 MiB is below 64 MiB"},
          Bad{"[policy]\nmax-mem = '0MiB'\n", "max-mem: 0 B is below 64 MiB"},
          Bad{"[policy]\nmin-mem = '1.5GiB'\n", "not a whole number"}}) {
        const auto config = parse_config(bad.text, "agent.toml");
        ASSERT_FALSE(config.ok()) << bad.text;
        EXPECT_NE(config.error().message.find(bad.named), std::string::npos)
            << config.error().message;
    }
}

TEST(AgentConfig, DropInsOverrideKeyByKeyInOrderOfName) {
    const TempDir dir;
    const std::string path = dir.write("agent.toml", "[policy]\npsi = '1%'\nmode = 'observe'\n");
    dir.write("agent.toml.d/20-b.toml", "[policy]\npsi = '3%'\n");
    dir.write("agent.toml.d/10-a.toml", "[policy]\npsi = '2%'\n");
    dir.write("agent.toml.d/notes.txt", "not toml");
    const auto config = load_config(path, ConfigFile::must_exist);
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(config->psi, 300_bp);
    EXPECT_EQ(config->mode, Mode::observe);
    const std::vector<std::string> files{path, dir.path("agent.toml.d/10-a.toml"),
                                         dir.path("agent.toml.d/20-b.toml")};
    EXPECT_EQ(config->files, files);
}

TEST(AgentConfig, OnlyAFileThatWasAskedForMustExist) {
    const std::string missing = "/nonexistent/agent.toml";
    EXPECT_EQ(load_config(missing, ConfigFile::may_be_missing).value(), Config{});
    const auto asked_for = load_config(missing, ConfigFile::must_exist);
    ASSERT_FALSE(asked_for.ok());
    EXPECT_NE(asked_for.error().message.find(missing), std::string::npos);
}

TEST(AgentConfig, WhatIsThereAndCannotBeReadIsAnError) {
    const TempDir dir;
    dir.write("agent.toml.d", "not a directory");
    const auto config = load_config(dir.path("agent.toml"), ConfigFile::may_be_missing);
    ASSERT_FALSE(config.ok());
    EXPECT_NE(config.error().message.find("agent.toml.d"), std::string::npos);
    dir.write("a.toml/b.toml", "");  // a.toml is a directory
    EXPECT_FALSE(load_config(dir.path("a.toml"), ConfigFile::may_be_missing).ok());
}

TEST(GentlerPolicy, IsNeverHarsherThanTheHosts) {
    const Policy host{.min_mem = 512_MiB, .max_mem = 2_GiB, .psi = 10_bp, .mode = Mode::observe};
    Config config;
    config.psi = 100_bp;       // more pressure than the host accepts
    config.min_mem = 256_MiB;  // further down than the host goes
    config.mode = Mode::automatic;
    EXPECT_EQ(gentler(host, config), host);
}

TEST(GentlerPolicy, TakesTheGentlerOfEach) {
    const Policy host{.min_mem = 512_MiB, .max_mem = 2_GiB, .psi = 10_bp};
    Config config;
    config.psi = 5_bp;
    config.min_mem = 3_GiB;  // above max-mem: no further than that
    config.mode = Mode::off;
    const Policy policy = gentler(host, config);
    EXPECT_EQ(policy.psi, 5_bp);
    EXPECT_EQ(policy.min_mem, 2_GiB);
    EXPECT_EQ(policy.mode, Mode::off);
}

TEST(StandalonePolicy, CountsOnlyWhenAskedFor) {
    Config config;
    config.psi = 20_bp;
    EXPECT_FALSE(standalone_policy(config, 4_GiB).has_value());
    config.standalone = true;
    const auto policy = standalone_policy(config, 4_GiB);
    ASSERT_TRUE(policy.has_value());
    EXPECT_EQ(policy->max_mem, 4_GiB);
    EXPECT_EQ(policy->psi, 20_bp);
    EXPECT_TRUE(validate(*policy).ok());
}

}  // namespace
}  // namespace acma::agent
