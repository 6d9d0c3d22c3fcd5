// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/page_lists.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "platform/file.h"
#include "tests/unit/temp_dir.h"

namespace acma::agent {
namespace {

class PageListsTest : public ::testing::Test {
  protected:
    void SetUp() override { std::ofstream(paths_.fraction) << "8\n"; }
    [[nodiscard]] std::string fraction() const {
        return platform::read_file(paths_.fraction).value_or("gone");
    }
    [[nodiscard]] bool noted() const { return std::filesystem::exists(paths_.note); }

    acma::testing::TempDir dir_;
    PageListPaths paths_{.fraction = dir_.path("fraction"), .note = dir_.path("run/note")};
};

TEST_F(PageListsTest, AreShortForAMomentOnly) {
    PageLists lists(paths_);
    lists.begin_drain(Time(Seconds(10)));
    EXPECT_TRUE(fraction().starts_with("1000000"));
    lists.begin_drain(Time(Seconds(11)));  // one is under way
    lists.end_drain(Time(Seconds(12)));
    EXPECT_TRUE(noted());
    lists.end_drain(Time(Seconds(13)));
    EXPECT_TRUE(fraction().starts_with("8\n"));
    EXPECT_FALSE(noted());
}

TEST_F(PageListsTest, AreAsTheyWereWhenTheAgentEnds) {
    PageLists(paths_).begin_drain(Time(Seconds(10)));
    EXPECT_TRUE(fraction().starts_with("8\n"));
    EXPECT_FALSE(noted());
}

TEST_F(PageListsTest, ArePutBackByTheSuccessorOfAnAgentThatWasKilled) {
    std::filesystem::create_directories(dir_.path("run"));
    std::ofstream(paths_.note) << "16\n";
    const PageLists lists(paths_);
    EXPECT_TRUE(fraction().starts_with("16\n"));
    EXPECT_FALSE(noted());
}

TEST_F(PageListsTest, AreLeftAloneWhereTheKernelHasNoSuchValue) {
    std::filesystem::remove(paths_.fraction);
    PageLists lists(paths_);
    lists.begin_drain(Time(Seconds(10)));
    EXPECT_FALSE(std::filesystem::exists(paths_.fraction));
    EXPECT_FALSE(noted());
}

}  // namespace
}  // namespace acma::agent
