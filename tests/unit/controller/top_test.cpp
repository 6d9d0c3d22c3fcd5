// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host-controller/acmactl/top_view.h"

namespace acma::ctl {
namespace {

using testing::HasSubstr;
using testing::Not;

proto::VmSummary vm(const std::string& name, Bytes host, BasisPoints psi) {
    proto::VmSummary vm{.name = name, .uuid = "uuid-" + name};
    vm.policy = Policy{512_MiB, 2_GiB, 10_bp, 1000, Mode::automatic};
    vm.host = host;
    vm.balloon_target = 3_GiB - host;
    vm.psi = psi;
    vm.last_reason = "because of " + name;
    return vm;
}

proto::VmList list() {
    proto::VmList list;
    list.host = {.mem_total = 16_GiB,
                 .mem_available = 5_GiB,
                 .budget = 15_GiB,
                 .granted = 9_GiB,
                 .reserved = 2_GiB,
                 .psi = 7_bp,
                 .libvirt_connected = true};
    list.vms = {vm("a", 1_GiB, 3_bp), vm("b", 2_GiB, 1_bp)};
    return list;
}

TEST(TopView, HasTheHostOnTopAndSortsByKey) {
    TopView view(SortBy::host, Glyphs::ascii);
    view.add(list(), Micros(0));
    const auto first = [&view] {
        const std::string text = view.render({});
        return text.find("\na ") < text.find("\nb ") ? 'a' : 'b';
    };
    const std::string text = view.render({});
    EXPECT_THAT(text, testing::StartsWith("acma 1970-01-01T00:00:00Z, 2 VMs by host"));
    EXPECT_THAT(text, HasSubstr("budget 15 GiB: granted 9 GiB, reserved 2 GiB, free 4 GiB :\n"));
    EXPECT_EQ(first(), 'b');
    EXPECT_EQ(view.press('p'), TopView::Key::redraw);
    EXPECT_EQ(first(), 'a');
    EXPECT_EQ(view.press('r'), TopView::Key::redraw);
    EXPECT_EQ(first(), 'b');
    view.press('n');
    EXPECT_EQ(first(), 'b') << "reversed still";
    view.press('r');
    EXPECT_EQ(first(), 'a');
    view.press('t');
    EXPECT_EQ(first(), 'a');
    EXPECT_EQ(view.press('x'), TopView::Key::ignored);
    EXPECT_EQ(view.press('q'), TopView::Key::quit);
}

TEST(TopView, DrawsWhatWasSeenOverTime) {
    TopView view(SortBy::name, Glyphs::blocks);
    proto::VmList seen = list();
    for (const Bytes size : {Bytes(0), 512_MiB, 1_GiB, 2_GiB}) {
        seen.vms[0].host = size;  // 0: not measured
        view.add(seen, Micros(0));
    }
    EXPECT_THAT(view.render({}), HasSubstr(" ▃▅█"));
    EXPECT_THAT(view.render({}), HasSubstr("▃▃▃▃")) << "PSI of 3 bp, where 20 are full";
    for (int i = 0; i < 100; ++i) {
        view.add(seen, Micros(0));
    }
    std::string full;
    for (size_t i = 0; i < TopView::k_history; ++i) {
        full += "█";
    }
    EXPECT_THAT(view.render({}), HasSubstr(full + "  "));
    EXPECT_THAT(view.render({}), Not(HasSubstr(full + "█")));
    seen.vms.clear();
    view.add(seen, Micros(0));
    EXPECT_THAT(view.render({}), Not(HasSubstr("█"))) << "who is gone is forgotten";
}

TEST(TopView, FitsTheScreen) {
    TopView view(SortBy::name, Glyphs::blocks);
    proto::VmList many = list();
    for (int i = 0; i < 1000; ++i) {
        many.vms.push_back(vm("vm" + std::to_string(i), 1_GiB, 5_bp));
    }
    view.add(many, Micros(0));
    const std::string text = view.render({.lines = 10, .columns = 40});
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 9);
    size_t column = 0;
    for (const char c : text) {
        column =
            c == '\n' ? 0 : column + ((static_cast<unsigned char>(c) & 0xC0U) == 0x80U ? 0U : 1U);
        ASSERT_LE(column, 40U);
    }
    EXPECT_GT(view.render({}).size(), 100'000U);
}

TEST(TopView, LetsNoNameFoolTheTerminal) {
    TopView view(SortBy::name, Glyphs::blocks);
    proto::VmList bad = list();
    bad.vms[0].name = "a\x1b[2J\nb";
    bad.vms[0].last_reason = "\x1b]0;x\a";
    view.add(bad, Micros(0));
    EXPECT_THAT(view.render({}), Not(HasSubstr("\x1b")));
}

TEST(Sparkline, IsFullAtTheMostAndBlankWhereNothingIsKnown) {
    EXPECT_EQ(sparkline({0, std::nullopt, 50, 100, 1000}, 100, Glyphs::ascii), "_ =##");
    EXPECT_EQ(sparkline({0, 5}, 0, Glyphs::ascii), "_#");
    EXPECT_EQ(parse_sort("psi"), SortBy::psi);
    EXPECT_FALSE(parse_sort("size"));
}

}  // namespace
}  // namespace acma::ctl
