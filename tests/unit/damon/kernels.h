// SPDX-License-Identifier: Apache-2.0
// Tests that run once for each captured kernel.
#pragma once

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/damon/captured.h"
#include "tests/unit/damon/simulated_tree.h"

namespace acma::damon::test {

class OnKernel : public testing::TestWithParam<std::string> {
  protected:
    const Captured& kernel_ = captured(GetParam());
    const Features features_ = features_of(kernel_);
    SimulatedTree sysfs_{kernel_};
};

inline std::string kernel_name(const testing::TestParamInfo<std::string>& param) {
    std::string name = "Linux" + param.param;
    std::replace(name.begin(), name.end(), '.', '_');
    return name;
}

}  // namespace acma::damon::test

#define ON_ALL_KERNELS(suite) \
    INSTANTIATE_TEST_SUITE_P(Kernels, suite, testing::ValuesIn(all_series()), kernel_name)
