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
    PageListPaths paths_{.fraction = dir_.path("fraction"),
                         .refresh = dir_.path("refresh"),
                         .note = dir_.path("run/note")};
};

TEST_F(PageListsTest, AreAsTheyWereAfterADrain) {
    std::ofstream(paths_.refresh) << "";
    drain_page_lists(paths_);
    EXPECT_TRUE(platform::read_file(paths_.refresh).value_or("").starts_with("1"));
    EXPECT_TRUE(fraction().starts_with("8\n"));
    EXPECT_NE(fraction(), "8\n") << "it has been longer meanwhile";
    EXPECT_FALSE(noted());
}

TEST_F(PageListsTest, ArePutBackByTheSuccessorOfAnAgentThatWasKilled) {
    std::filesystem::create_directories(dir_.path("run"));
    std::ofstream(paths_.note) << "16\n";
    restore_page_lists(paths_);
    EXPECT_TRUE(fraction().starts_with("16\n"));
    EXPECT_FALSE(noted());
}

TEST_F(PageListsTest, AreLeftAloneWhereTheKernelHasNoSuchValue) {
    std::filesystem::remove(paths_.fraction);
    drain_page_lists(paths_);
    EXPECT_FALSE(std::filesystem::exists(paths_.fraction));
    EXPECT_FALSE(noted());
}

}  // namespace
}  // namespace acma::agent
