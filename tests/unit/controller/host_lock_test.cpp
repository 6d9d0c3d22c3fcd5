// SPDX-License-Identifier: Apache-2.0
#include "host-controller/daemon/host_lock.h"

#include <csignal>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace acma::host {
namespace {

using testing::HasSubstr;

class HostLockTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "acma-lock-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory = name;
        path = directory + "/acma/controller.lock";
    }
    void TearDown() override { std::filesystem::remove_all(directory); }

    std::string directory;
    std::string path;
};

TEST_F(HostLockTest, IsForOneAtATime) {
    {
        const auto first = HostLock::take("qemu:///system", path);
        ASSERT_TRUE(first) << first.error().message;
        const auto second = HostLock::take("qemu+unix:///system?socket=/run/x", path);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code, ErrorCode::busy);
        EXPECT_THAT(second.error().message, HasSubstr("another acma-controller (process " +
                                                      std::to_string(::getpid()) + ")"));
    }
    EXPECT_TRUE(HostLock::take("qemu:///system", path));
}

TEST_F(HostLockTest, IsFreeAtOnceWhenItsHolderWasKilled) {
    const pid_t child = ::fork();
    if (child == 0) {
        const auto held = HostLock::take("qemu:///system", path);
        ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_TRUE(HostLock::take("qemu:///system", path));
}

TEST_F(HostLockTest, IsNotForWhatBelongsToAUserOrAProcess) {
    for (const char* uri : {"test:///default", "qemu:///session", "test:///system/vms.xml"}) {
        EXPECT_TRUE(HostLock::take(uri, path));
        EXPECT_TRUE(HostLock::take(uri, path)) << uri;
    }
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(HostLockTest, SaysWhatItCannotUse) {
    std::filesystem::create_directory(directory + "/acma");
    std::filesystem::create_symlink("elsewhere", path);
    const auto lock = HostLock::take("qemu:///system", path);
    ASSERT_FALSE(lock);
    EXPECT_THAT(lock.error().message, HasSubstr(path));
    EXPECT_FALSE(HostLock::take("qemu:///system", directory + "/not/there/x"));
}

}  // namespace
}  // namespace acma::host
