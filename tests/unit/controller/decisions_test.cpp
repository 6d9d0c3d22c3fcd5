// SPDX-License-Identifier: Apache-2.0
// The decision log: its lines, its file, and what it does when the disk does not take them.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host-controller/decisions/decision_log.h"
#include "proto/decision_json.h"

namespace acma::host {
namespace {

using testing::HasSubstr;

arbiter::Record sample() {
    arbiter::Record record{.wall = Seconds(1000), .memory = 16_GiB, .available = 4_GiB};
    record.host = {.budget = 15_GiB,
                   .reserved = 1_GiB,
                   .strain = arbiter::Strain::emergency,
                   .short_of = 2_GiB};
    arbiter::Record::Vm vm{.name = "web \"1\"", .uuid = "u1", .guest = {}, .grant = {}};
    vm.guest = {
        .min = 1_GiB, .max = 4_GiB, .shares = 7, .own = 50_MiB, .grant = 2_GiB, .holds = 3_GiB};
    vm.guest.needs = arbiter::Needs{.active = 500_MiB, .used = 600_MiB, .pressed = true};
    vm.guest.stuck_at = 2560_MiB;
    vm.grant = {.size = 2_GiB, .fair = 3_GiB, .why = arbiter::Why::waits};
    record.vms = {vm};
    vm.guest = {.fixed = true};
    vm.grant = {.why = arbiter::Why::fixed};
    record.vms.push_back(vm);
    record.free = 1_MiB;
    record.lacking = 2_MiB;
    record.missing = 3_MiB;
    record.dropped = 4;
    return record;
}

std::string text_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

class DecisionsTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "acma-decisions-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory = name;
        path = directory + "/log";
    }
    void TearDown() override { std::filesystem::remove_all(directory); }

    std::string directory;
    std::string path;
};

TEST_F(DecisionsTest, ALineIsReadAsItWasWritten) {
    const std::string line = proto::to_json(sample(), proto::Layout::line);
    EXPECT_THAT(line, testing::StartsWith(R"({"version":1,"time_us":1000000000,)"));
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto read = proto::from_json<arbiter::Record>(line);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, sample());
    for (size_t size = 0; size < line.size(); ++size) {
        EXPECT_FALSE(proto::from_json<arbiter::Record>(line.substr(0, size))) << size;
    }
}

TEST_F(DecisionsTest, ALineOfALaterReleaseIsReadOrSaidToBeNewer) {
    std::string line = proto::to_json(sample(), proto::Layout::line);
    line.insert(1, R"("more":[1],)");
    EXPECT_TRUE(proto::from_json<arbiter::Record>(line)) << "a field more";
    line.replace(line.find(R"("version":1)"), 11, R"("version":2)");
    const auto read = proto::from_json<arbiter::Record>(line);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, ErrorCode::unsupported);
}

TEST_F(DecisionsTest, AFullFileMakesRoomOnce) {
    RotatingFile file(path, Bytes(20));
    for (const char* line : {"aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd", "eeeeeeee"}) {
        ASSERT_TRUE(file.append(line));
    }
    EXPECT_EQ(text_of(path + ".1"), "cccccccc\ndddddddd\n");
    EXPECT_EQ(text_of(path), "eeeeeeee\n");
    ASSERT_TRUE(file.append(std::string(100, 'f'))) << "too long for any file";
    EXPECT_EQ(text_of(path).size(), 101U);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 2);
}

TEST_F(DecisionsTest, OnlyItsOwnerReadsIt) {
    std::ofstream(path) << "old\n";
    std::filesystem::permissions(path, std::filesystem::perms(0644));
    ASSERT_TRUE(RotatingFile(path, 1_MiB).append("new"));
    struct stat found {};
    ASSERT_EQ(::stat(path.c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 0777U, 0600U);
    EXPECT_EQ(text_of(path), "old\nnew\n");
}

TEST_F(DecisionsTest, AfterALineThatWasCutOffANewOneBegins) {
    std::ofstream(path) << "whole\nhal";
    RotatingFile file(path, 1_MiB);
    ASSERT_TRUE(file.append("new"));
    ASSERT_TRUE(file.append("last"));
    EXPECT_EQ(text_of(path), "whole\nhal\nnew\nlast\n");
}

TEST_F(DecisionsTest, AFileThatWasTakenAwayIsMadeAnew) {
    RotatingFile file(path, 1_MiB);
    ASSERT_TRUE(file.append("a"));
    std::filesystem::remove(path);
    ASSERT_TRUE(file.append("b"));
    EXPECT_EQ(text_of(path), "b\n");
}

TEST_F(DecisionsTest, WhatIsNoFileIsRefused) {
    std::filesystem::create_symlink(directory + "/elsewhere", path);
    EXPECT_FALSE(RotatingFile(path, 1_MiB).append("a"));
    EXPECT_FALSE(std::filesystem::exists(directory + "/elsewhere"));
    std::filesystem::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_THAT(RotatingFile(path, 1_MiB).append("a").error().message, HasSubstr("regular file"));
    EXPECT_FALSE(RotatingFile(directory + "/not/there", 1_MiB).append("a"));
}

TEST_F(DecisionsTest, HalfALineIsTakenBack) {
    RotatingFile file(path, 1_MiB);
    ASSERT_TRUE(file.append("whole"));
    const rlimit64 before = [] {
        rlimit64 limit{};
        ::getrlimit64(RLIMIT_FSIZE, &limit);
        return limit;
    }();
    (void)std::signal(SIGXFSZ, SIG_IGN);
    const rlimit64 little{.rlim_cur = 10, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit64(RLIMIT_FSIZE, &little), 0);
    EXPECT_FALSE(file.append("too long for it"));
    ASSERT_EQ(::setrlimit64(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(text_of(path), "whole\n");
    ASSERT_TRUE(file.append("next"));
    EXPECT_EQ(text_of(path), "whole\nnext\n");
}

TEST_F(DecisionsTest, SaysOnceThatItDropsAndCountsIt) {
    path = directory + "/later/log";
    std::vector<std::string> said;
    std::mutex mutex;
    std::vector<std::function<void()>> posted;
    const auto run_posted = [&] {
        std::vector<std::function<void()>> work;
        {
            const std::lock_guard lock(mutex);
            work.swap(posted);
        }
        for (const auto& each : work) {
            each();
        }
    };
    const auto said_by = [&](size_t count) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (said.size() < count && std::chrono::steady_clock::now() < until) {
            run_posted();
            std::this_thread::yield();
        }
        return said.size() >= count;
    };
    {
        DecisionLog log(
            path, 1_MiB,
            [&](std::function<void()> work) {
                const std::lock_guard lock(mutex);
                posted.push_back(std::move(work));
            },
            [&](bool warning, const std::string& text) {
                said.push_back((warning ? "W " : "I ") + text);
            });
        log.add(sample());
        ASSERT_TRUE(said_by(1));
        EXPECT_THAT(said[0],
                    HasSubstr("later/log: No such file or directory; decisions are dropped"));
        log.add(sample());
        log.add(sample());
        std::filesystem::create_directory(directory + "/later");
        log.add(sample());
        ASSERT_TRUE(said_by(2)) << "it was said again, or not that it works";
        EXPECT_THAT(said[1], HasSubstr("decisions were dropped"));
    }
    const std::string text = text_of(path);
    const auto read = proto::from_json<arbiter::Record>(text.substr(0, text.find('\n')));
    ASSERT_TRUE(read);
    EXPECT_GE(read->dropped, 1U);
    EXPECT_EQ(read->dropped + static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n')),
              4U);
    EXPECT_EQ(said.size(), 2U);
}

}  // namespace
}  // namespace acma::host
