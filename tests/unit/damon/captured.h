// SPDX-License-Identifier: Apache-2.0
// What tests/fixtures/damon/capture.sh captured from real kernels.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/damon/features.h"
#include "engine/damon/tree.h"

namespace acma::damon::test {

using Behaviour = std::map<std::string, std::string, std::less<>>;

struct Captured {
    std::string release;
    std::filesystem::path dir;
    Tree tree;  // one child in every directory, all untouched
    Behaviour behaviour;

    [[nodiscard]] const std::string& answer(std::string_view what) const;
    [[nodiscard]] std::string text(std::string_view file) const;
};

// series: "6.12" or "7.3"; there is one release of each.
[[nodiscard]] const Captured& captured(std::string_view series);
[[nodiscard]] std::vector<std::string> all_series();

// Features as staging() and detect() find them on that kernel.
[[nodiscard]] Features features_of(const Captured& kernel);

// Compares with a golden file; ACMA_REGENERATE_GOLDENS=1 writes it instead.
void expect_golden(const std::filesystem::path& file, const std::string& text);

[[nodiscard]] std::string to_tsv(const Plan& plan);

}  // namespace acma::damon::test
