// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/damon/features.h"
#include "engine/damon/tree.h"

namespace acma::damon::test {

namespace {

const Features k_reject_only;

Filter allow(FilterType type, bool matching = true) {
    return {.type = type, .matching = matching, .allow = true};
}
Filter reject(FilterType type, bool matching = true) {
    return {.type = type, .matching = matching, .allow = false};
}
Filter in(FilterLayer layer, Filter filter) {
    filter.layer = layer;
    return filter;
}

}  // namespace

TEST(FilterDirs, AnAllowFilterIsItsOppositeRejectOnKernelsThatOnlyReject) {
    const Result<FilterDirs> dirs = filter_dirs({allow(FilterType::young)}, k_reject_only);
    ASSERT_TRUE(dirs.ok());
    EXPECT_EQ(dirs->both,
              std::vector<Filter>{in(FilterLayer::both, reject(FilterType::young, false))});
    EXPECT_TRUE(dirs->core.empty());
    EXPECT_TRUE(dirs->ops.empty());
}

TEST(FilterDirs, RejectsBeforeALastAllowStay) {
    const Result<FilterDirs> dirs =
        filter_dirs({reject(FilterType::memcg), allow(FilterType::anon, false)}, k_reject_only);
    ASSERT_TRUE(dirs.ok());
    EXPECT_EQ(dirs->both, (std::vector<Filter>{in(FilterLayer::both, reject(FilterType::memcg)),
                                               in(FilterLayer::both, reject(FilterType::anon))}));
}

TEST(FilterDirs, AnAllowThatIsNotTheLastHasNoRejectForm) {
    const Result<FilterDirs> dirs =
        filter_dirs({allow(FilterType::anon), reject(FilterType::young)}, k_reject_only);
    ASSERT_FALSE(dirs.ok());
    EXPECT_EQ(dirs.error().code, ErrorCode::unsupported);
    EXPECT_EQ(dirs.error().message,
              "filter 0 (anon) allows and is not the last of its layer, which has no form on this "
              "kernel (allow: since 6.14); put it last or turn it into rejects");
}

TEST(FilterDirs, ACoreAllowBesidePageFiltersIsAnOrAndHasNoRejectForm) {
    const Result<FilterDirs> dirs =
        filter_dirs({allow(FilterType::addr), reject(FilterType::young)}, k_reject_only);
    ASSERT_FALSE(dirs.ok());
    EXPECT_EQ(dirs.error().code, ErrorCode::unsupported);
}

TEST(FilterDirs, ALoneCoreAllowHasARejectForm) {
    EXPECT_TRUE(filter_dirs({allow(FilterType::addr)}, k_reject_only).ok());
    EXPECT_TRUE(
        filter_dirs({reject(FilterType::addr), allow(FilterType::young)}, k_reject_only).ok());
}

TEST(FilterDirs, LayeredKernelsGetEachTypeInItsLayerWithAllowUntouched) {
    const Result<FilterDirs> dirs =
        filter_dirs({allow(FilterType::young), reject(FilterType::addr), reject(FilterType::target),
                     allow(FilterType::hugepage_size)},
                    Features::all());
    ASSERT_TRUE(dirs.ok());
    EXPECT_TRUE(dirs->both.empty());
    EXPECT_EQ(dirs->core, (std::vector<Filter>{in(FilterLayer::core, reject(FilterType::addr)),
                                               in(FilterLayer::core, reject(FilterType::target))}));
    EXPECT_EQ(dirs->ops,
              (std::vector<Filter>{in(FilterLayer::ops, allow(FilterType::young)),
                                   in(FilterLayer::ops, allow(FilterType::hugepage_size))}));
}

TEST(FilterDirs, FiltersFoundInTheDeprecatedDirectoryStayThere) {
    const Result<FilterDirs> dirs =
        filter_dirs({in(FilterLayer::both, reject(FilterType::addr))}, Features::all());
    ASSERT_TRUE(dirs.ok());
    EXPECT_EQ(dirs->both.size(), 1U);
}

}  // namespace acma::damon::test
