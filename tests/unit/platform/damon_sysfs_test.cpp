// SPDX-License-Identifier: Apache-2.0
// DAMON's files are busy now and then (mm/damon/sysfs.c takes its lock with mutex_trylock()).
#include "platform/damon_sysfs.h"

#include <cerrno>

#include <gtest/gtest.h>

#include "tests/unit/temp_dir.h"

namespace acma::platform {
namespace {

using acma::testing::TempDir;

constexpr int k_for_ever = 1'000'000'000;

// Files that fail with `err` so many times before they answer. Time only passes between two tries.
class FailingFiles {
  public:
    FailingFiles(int err, int times) : err_(err), left_(times) {}

    SysfsIo io() {
        return {.read = [this](const std::string& path) -> Result<std::string> {
                    return fails() ? Result<std::string>(error_from_errno(err_, "read " + path))
                                   : read_file(path);
                },
                .write = [this](const std::string& path, std::string_view value) -> Status {
                    return fails() ? Status(error_from_errno(err_, "write " + path))
                                   : write_file(path, value);
                },
                .now = [this] { return Time(waited_); },
                .sleep = [this](Micros duration) { waited_ += duration; }};
    }
    [[nodiscard]] Micros waited() const { return waited_; }
    [[nodiscard]] int asked() const { return asked_; }

  private:
    bool fails() {
        ++asked_;
        return left_-- > 0;
    }
    int err_;
    int left_;
    int asked_ = 0;
    Micros waited_{0};
};

class BusyDamon : public ::testing::Test {
  protected:
    void SetUp() override {
        dir_.write("kdamonds/nr_kdamonds", "1\n");
        dir_.write("kdamonds/0/state", "off\n");
        dir_.write("kdamonds/0/pid", "-1\n");
    }
    TempDir dir_;
};

TEST_F(BusyDamon, IsAskedAgainUntilItAnswers) {
    FailingFiles files(EBUSY, 5);
    const DamonSysfs sysfs(dir_.path(), files.io());
    EXPECT_TRUE(sysfs.apply({{"kdamonds/nr_kdamonds", "2"}}).ok());
    EXPECT_EQ(files.asked(), 6);
    EXPECT_EQ(dir_.read("kdamonds/nr_kdamonds"), "2\n");
}

TEST_F(BusyDamon, IsAskedAgainForStateAndPidToo) {
    FailingFiles for_state(EBUSY, 3);
    EXPECT_EQ(DamonSysfs(dir_.path(), for_state.io()).state(0).value(), damon::State::off);
    EXPECT_EQ(for_state.asked(), 4);
    FailingFiles for_pid(EBUSY, 3);
    EXPECT_EQ(DamonSysfs(dir_.path(), for_pid.io()).pid(0).value(), -1);
    EXPECT_EQ(for_pid.asked(), 4);
}

TEST_F(BusyDamon, IsGivenUpWhenPatienceIsOver) {
    FailingFiles files(EBUSY, k_for_ever);
    const DamonSysfs sysfs(dir_.path(), files.io());
    const Status status = sysfs.command(0, damon::StateCommand::commit, Millis(30));
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::busy);
    EXPECT_NE(status.error().message.find("kdamonds/0/state"), std::string::npos);
    EXPECT_EQ(files.waited(), Millis(30)) << "its own patience, not the usual one";
    EXPECT_EQ(files.asked(), 31) << "every millisecond";
}

TEST_F(BusyDamon, IsLeftOutOfATreeWhereItIsBusy) {
    FailingFiles files(EBUSY, k_for_ever);
    EXPECT_TRUE(DamonSysfs(dir_.path(), files.io()).read_tree().value().empty());
    FailingFiles broken(EIO, k_for_ever);
    EXPECT_FALSE(DamonSysfs(dir_.path(), broken.io()).read_tree().ok());
}

// Somebody else may hold DAMON's lock while its features are looked for.
TEST_F(BusyDamon, IsNotTakenForAKernelThatLacksAFeature) {
    FailingFiles files(EBUSY, 0);
    SysfsIo io = files.io();
    io.read = [](const std::string&) -> Result<std::string> { return std::string(); };
    io.write = [](const std::string& path, std::string_view) -> Status {
        return path.ends_with("/action") ? Status(error_from_errno(EBUSY, path)) : Status();
    };
    const auto features = DamonSysfs(dir_.path(), std::move(io)).detect_features();
    ASSERT_FALSE(features.ok());
    EXPECT_EQ(features.error().code, ErrorCode::busy) << features.error().message;
}

TEST_F(BusyDamon, IsNotAskedAgainWhenItRefuses) {
    FailingFiles files(EINVAL, k_for_ever);
    const Status status = DamonSysfs(dir_.path(), files.io()).apply({{"kdamonds/0/state", "on"}});
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::invalid);
    EXPECT_EQ(files.asked(), 1);
}

}  // namespace
}  // namespace acma::platform
