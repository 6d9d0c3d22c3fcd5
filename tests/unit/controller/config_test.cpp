// SPDX-License-Identifier: Apache-2.0
#include "host-controller/config/config.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/config/whole.h"

namespace acma::host {
namespace {

using testing::HasSubstr;

std::string error_of(const std::string& text) {
    ControllerConfig config;
    const ControllerConfig before = config;
    const Status read = read_config(text, "controller.toml", config);
    EXPECT_EQ(config, before) << "changed in spite of the error";
    return read ? "no error" : read.error().message;
}

TEST(ControllerConfig, ReadsEveryKey) {
    ControllerConfig config;
    const Status read = read_config(R"(
connect = "qemu:///session"
socket = "/run/x.sock"
socket-group = "ops"
listen = "127.0.0.1:9178"
listen-names = ["node7", "node7.example.org"]
swap-out-limit = "512MiB/s"
hold-with-memory-high = true
log-level = "warning"
channels = ["org.acma.agent.0", "org.qemu.guest_agent.0"]
usage-database = "/srv/usage.db"
usage-retention = "90d"
decision-log = "/srv/decisions"
decision-log-size = "2MiB"
log-levels = { api = "error", vms = "debug" }

[[rule]]
name = "web-*"
min-mem = "512MiB"
max-mem = "4GiB"
psi = "1%"
shares = 10
mode = "auto"

[[rule]]
uuid = "6695EB01-f6a4-8304-79aa-97f2502e193f"
min-mem = "1GiB"
max-mem = "2GiB"
)",
                                    "controller.toml", config);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(config.connect, "qemu:///session");
    EXPECT_EQ(config.socket, "/run/x.sock");
    EXPECT_EQ(config.socket_group, "ops");
    EXPECT_EQ(config.listen, (TcpEndpoint{"127.0.0.1", 9178}));
    EXPECT_EQ(config.listen_names, (std::vector<std::string>{"node7", "node7.example.org"}));
    EXPECT_EQ(config.log_level, "warning");
    EXPECT_TRUE(config.hold_with_memory_high);
    EXPECT_EQ(config.channels.size(), 2U);
    EXPECT_EQ(config.swap_out_limit, 512_MiB);
    EXPECT_EQ(config.usage_database, "/srv/usage.db");
    EXPECT_EQ(config.usage_retention, std::chrono::days(90));
    EXPECT_EQ(config.decision_log, "/srv/decisions");
    EXPECT_EQ(config.decision_log_size, 2_MiB);
    EXPECT_EQ(config.log_levels,
              (std::map<std::string, std::string>{{"api", "error"}, {"vms", "debug"}}));
    ASSERT_EQ(config.rules.size(), 2U);
    EXPECT_EQ(config.rules[0].policy, (Policy{512_MiB, 4_GiB, 100_bp, 10, Mode::automatic}));
    EXPECT_EQ(config.rules[1].uuid, "6695eb01-f6a4-8304-79aa-97f2502e193f");
}

TEST(ControllerConfig, TakesAddressesOfBothKindsToListenOn) {
    for (const char* address : {"0.0.0.0", "::1", "fe80::1%eth0"}) {
        ControllerConfig config;
        const std::string text = std::string("listen = \"[") + address + "]:9178\"";
        ASSERT_TRUE(read_config(text, "f", config)) << text;
        EXPECT_EQ(config.listen, (TcpEndpoint{address, 9178}));
    }
}

TEST(ControllerConfig, LetsARuleWithoutAModeOnlyObserve) {
    ControllerConfig config;
    ASSERT_TRUE(read_config("[[rule]]\nname='*'\nmin-mem='1GiB'\nmax-mem='2GiB'", "f", config));
    EXPECT_EQ(config.rules[0].policy.mode, Mode::observe);
}

TEST(ControllerConfig, NamesKeyAndLineOfWhatIsWrong) {
    EXPECT_THAT(error_of("\nconect = \"x\""), HasSubstr("controller.toml:2: conect: unknown key"));
    EXPECT_THAT(error_of("connect = 1"), HasSubstr("controller.toml:1: connect: must be text"));
    EXPECT_THAT(error_of("connect = \"\""), HasSubstr("connect: must not be empty"));
    EXPECT_THAT(error_of("listen = \"9178\""), HasSubstr("listen: must be ADDRESS:PORT"));
    EXPECT_THAT(error_of("\nlisten = \"localhost:9178\""),
                HasSubstr("controller.toml:2: listen: 'localhost' is not an IP address"));
    EXPECT_THAT(error_of("listen = \"[::1:9178\""), HasSubstr("listen: '[::1'"));
    EXPECT_THAT(error_of("listen = \"127.0.0.1%lo:9178\""), HasSubstr("listen: '127.0.0.1%lo'"));
    EXPECT_THAT(error_of("listen = \"0.0.0.0:0\""), HasSubstr("listen: port '0'"));
    EXPECT_THAT(error_of("listen = \"0.0.0.0:99999\""), HasSubstr("listen: port"));
    EXPECT_THAT(error_of("log-level = \"loud\""), HasSubstr("log-level: 'loud'"));
    EXPECT_THAT(error_of("log-levels = \"info\""), HasSubstr("log-levels: write it as a table"));
    EXPECT_THAT(error_of("log-levels.api = \"loud\""), HasSubstr("log-levels.api: 'loud'"));
    EXPECT_THAT(error_of("hold-with-memory-high = 1"), HasSubstr("must be true or false"));
    EXPECT_THAT(error_of("log-levels.apis = \"info\""), HasSubstr("log-levels.apis: unknown key"));
    EXPECT_THAT(error_of("decision-log = \"here\""), HasSubstr("must be an absolute path"));
    EXPECT_THAT(error_of("decision-log-size = \"1KiB\""), HasSubstr("at least 1MiB"));
    EXPECT_THAT(error_of("decision-log-size = 3"), HasSubstr("must be text"));
    EXPECT_THAT(error_of("socket = \"x.sock\""), HasSubstr("socket: must be an absolute path"));
    EXPECT_THAT(error_of("channels = []"), HasSubstr("channels: must be a list"));
    EXPECT_THAT(error_of("qemu-ga = true"), HasSubstr("qemu-ga: must be a list of names"));
    EXPECT_THAT(error_of("channels = [1]"), HasSubstr("channels: must be text"));
    EXPECT_THAT(error_of("rule = 1"), HasSubstr("rule: write each rule as [[rule]]"));
    EXPECT_THAT(error_of("a = = 1"), HasSubstr("controller.toml:1:"));
}

TEST(ControllerConfig, NamesKeyAndLineOfWhatIsWrongInARule) {
    const std::string rule = "[[rule]]\nname = \"a\"\nmin-mem = \"1GiB\"\nmax-mem = \"2GiB\"\n";
    EXPECT_THAT(error_of(rule + "max_mem = \"3GiB\""),
                HasSubstr("controller.toml:5: rule.max_mem: unknown key"));
    EXPECT_THAT(error_of(rule + "psi = \"101%\""), HasSubstr("controller.toml:5: rule.psi: "));
    EXPECT_THAT(error_of(rule + "psi = \"0%\""), HasSubstr("rule.psi: "));
    EXPECT_THAT(error_of(rule + "psi = 1"), HasSubstr("rule.psi: must be text"));
    EXPECT_THAT(error_of(rule + "shares = 0"), HasSubstr("rule.shares: "));
    EXPECT_THAT(error_of(rule + "uuid = \"zz\""), HasSubstr("rule.uuid: 'zz' is not a UUID"));
    EXPECT_THAT(error_of("[[rule]]\nmin-mem = \"1GiB\"\nmax-mem = \"2GiB\""),
                HasSubstr("controller.toml:1: rule: needs name"));
    EXPECT_THAT(error_of("[[rule]]\nname = \"a\"\nmax-mem = \"2GiB\""),
                HasSubstr("rule: min-mem is missing"));
    EXPECT_THAT(error_of("[[rule]]\nname = \"a\"\nmin-mem = \"3GiB\"\nmax-mem = \"2GiB\""),
                HasSubstr("is above max-mem"));
}

constexpr const char* k_flavor_rule = R"([[rule]]
min-mem = "1GiB"
max-mem = "2GiB"
metadata = { namespace = "urn:nova", path = "instance/flavor/@name", value = "m1.*" }
)";

TEST(ControllerConfig, MatchesAnotherToolsMetadata) {
    ControllerConfig config;
    const Status read = read_config(k_flavor_rule, "f", config);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(config.rules[0].label, "instance/flavor/@name=m1.*");
    const MetadataPath flavor{"urn:nova", "instance/flavor/@name"};
    EXPECT_EQ(metadata_paths(config.rules), std::vector{flavor});
    EXPECT_NE(match_rule(config.rules, "a", "u", {{flavor, {"m1.small"}}}), nullptr);
    EXPECT_NE(match_rule(config.rules, "a", "u", {{flavor, {"x", "m1.small"}}}), nullptr);
    EXPECT_EQ(match_rule(config.rules, "a", "u", {{flavor, {"m2.small"}}}), nullptr);
    EXPECT_EQ(match_rule(config.rules, "a", "u"), nullptr);
}

TEST(ControllerConfig, NamesWhatIsWrongInARulesMetadata) {
    const std::string sizes = "[[rule]]\nmin-mem = \"1GiB\"\nmax-mem = \"2GiB\"\n";
    const auto error = [&sizes](const std::string& table) {
        return error_of(sizes + "metadata = " + table);
    };
    EXPECT_THAT(error("\"m1\""), HasSubstr("controller.toml:4: rule.metadata: must be {"));
    EXPECT_THAT(error("{ namespace = \"n\", path = \"a\" }"),
                HasSubstr("controller.toml:4: rule.metadata: value is missing"));
    EXPECT_THAT(error("{ namespace = \"n\", path = \"a\", value = \"v\", x = 1 }"),
                HasSubstr("controller.toml:4: rule.metadata.x: unknown key"));
    EXPECT_THAT(error("{ namespace = 1, path = \"a\", value = \"v\" }"),
                HasSubstr("rule.metadata.namespace: must be text"));
    for (const char* path : {"", "/a", "a/", "a//b", "@a", "a/@b/c", "a b", "a/1", "a/@"}) {
        EXPECT_THAT(
            error("{ namespace = \"n\", path = \"" + std::string(path) + "\", value = \"v\" }"),
            HasSubstr("rule.metadata.path: "))
            << path;
    }
}

TEST(ControllerConfig, TakesTheFirstRuleThatMatches) {
    ControllerConfig config;
    ASSERT_TRUE(read_config(R"(
[[rule]]
uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"
min-mem = "1GiB"
max-mem = "2GiB"
[[rule]]
name = "web-?"
min-mem = "1GiB"
max-mem = "3GiB"
[[rule]]
name = "*"
min-mem = "1GiB"
max-mem = "4GiB"
)",
                            "f", config));
    const auto max_of = [&config](const char* name, const char* uuid) {
        return match_rule(config.rules, name, uuid)->policy.max_mem;
    };
    EXPECT_EQ(max_of("web-1", "6695eb01-f6a4-8304-79aa-97f2502e193f"), 2_GiB);
    EXPECT_EQ(max_of("web-1", "other"), 3_GiB);
    EXPECT_EQ(max_of("web-12", "other"), 4_GiB);
    EXPECT_EQ(match_rule({}, "web-1", "other"), nullptr);
}

class ConfigFiles : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "acma-config-XXXXXX";
        dir_ = ::mkdtemp(pattern.data());
        std::filesystem::create_directory(dir_ / "d");
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }
    void write(const std::string& name, const std::string& text) const {
        std::ofstream(dir_ / name) << text;
    }
    [[nodiscard]] Result<ControllerConfig> load(ConfigFile need = ConfigFile::must_exist) const {
        return load_config(dir_ / "controller.toml", dir_ / "d", need);
    }
    std::filesystem::path dir_;
};

TEST_F(ConfigFiles, ReadsDropInsInTheOrderOfTheirNames) {
    write("controller.toml", "connect = \"a\"\nlog-level = \"debug\"");
    write("d/20.toml", "connect = \"c\"");
    write("d/10.toml", "connect = \"b\"");
    write("d/note.txt", "not a config");
    const auto config = load();
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->connect, "c");
    EXPECT_EQ(config->log_level, "debug");
    EXPECT_THAT(config->files,
                testing::ElementsAre(HasSubstr("controller.toml"), HasSubstr("d/10.toml"),
                                     HasSubstr("d/20.toml")));
}

TEST_F(ConfigFiles, NamesTheDropInThatIsWrong) {
    write("controller.toml", "");
    write("d/10.toml", "x = 1");
    const auto config = load();
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error().message, HasSubstr("d/10.toml:1: x: unknown key"));
}

TEST_F(ConfigFiles, NeedsOnlyAFileThatWasAskedFor) {
    EXPECT_FALSE(load(ConfigFile::must_exist));
    const auto without = load(ConfigFile::may_be_missing);
    ASSERT_TRUE(without);
    EXPECT_TRUE(without->files.empty());
}

// --- as a whole -----------------------------------------------------------------------------

std::string whole(const ControllerConfig& config, std::optional<Bytes> mem_total = 16_GiB) {
    const Status good = check_whole(config, mem_total);
    return good ? "" : good.error().message;
}

TEST(WholeConfig, IsForTheLibvirtOfItsOwnHost) {
    for (const char* uri :
         {"qemu:///system", "qemu+unix:///system?socket=/a://b/c", "test:///default",
          "qemu+tcp://localhost/system", "qemu+tls://[::1]:16514/system", "qemu"}) {
        EXPECT_EQ(whole({.connect = uri}), "") << uri;
    }
    for (const char* uri : {"qemu+ssh://node7/system", "qemu+ssh://root@node7:22/system",
                            "qemu://node7/system?no_verify=1", "qemu+tls://[fd00::7]/system"}) {
        EXPECT_THAT(whole({.connect = uri}), HasSubstr("manages the VMs of the host")) << uri;
    }
    EXPECT_THAT(whole({.connect = "qemu+ssh://root@node7:22/system"}),
                HasSubstr("the libvirt of node7;"));
}

TEST(WholeConfig, HasOneWriterForEachFile) {
    EXPECT_EQ(whole({.usage_database = "/srv/usage.db", .decision_log = "/srv/decisions"}), "");
    for (const char* log : {"/srv/usage.db", "/srv/./x/../usage.db", "/srv/usage.db-wal",
                            "/srv/usage.db-shm", "/srv/usage.db-journal"}) {
        EXPECT_THAT(whole({.usage_database = "/srv/usage.db", .decision_log = log}),
                    HasSubstr("would write over /srv/usage.db"))
            << log;
    }
    EXPECT_THAT(whole({.usage_database = "/srv/log.1", .decision_log = "/srv/log"}),
                HasSubstr("decision-log /srv/log would write over /srv/log.1"));
}

TEST(WholeConfig, LeavesSomethingForVms) {
    EXPECT_EQ(whole({.host_reserve = 15_GiB}), "");
    EXPECT_EQ(whole({.host_reserve = 16_GiB}),
              "host-reserve 16 GiB leaves nothing for VMs: this host has 16 GiB (MemTotal)");
    EXPECT_EQ(whole({.host_reserve = 16_GiB}, {}), "") << "not known";
}

}  // namespace
}  // namespace acma::host
