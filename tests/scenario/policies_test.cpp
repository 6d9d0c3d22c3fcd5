// SPDX-License-Identifier: Apache-2.0
// Others' rules as the simulator has them, against recorded runs of the real ones
// (tests/fixtures/policies/record.py): every target of every row, to the KiB.
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "engine/simulation/host_policy.h"

namespace acma::simulation {
namespace {

struct Row {
    Time at{};
    HostView host;
    std::vector<VmView> vms;
    std::vector<std::optional<Bytes>> set;  // none: it was left alone
};

Bytes kib(const std::string& text) {
    return to_bytes(Kibibytes(std::stoull(text)));
}

Row row_of(const std::string& line) {
    std::vector<std::string> cells;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) {
        cells.push_back(cell);
    }
    cells.resize(3 + 6 * ((cells.size() + 2) / 6), "");  // an empty one at the end is not read
    Row row{.at = Time{} + Seconds(std::stoi(cells.at(0))),
            .host = {.memory = kib(cells.at(1)), .free = kib(cells.at(2))}};
    for (size_t i = 3; i < cells.size(); i += 6) {
        VmView vm{
            .target = kib(cells[i + 3]), .actual = kib(cells[i + 3]), .unused = kib(cells[i + 4])};
        vm.policy.min_mem = kib(cells[i]);
        vm.policy.max_mem = vm.ram = kib(cells[i + 1]);
        vm.policy.shares = static_cast<uint32_t>(std::stoul(cells[i + 2]));
        row.vms.push_back(vm);
        row.set.push_back(cells[i + 5].empty() ? std::nullopt : std::optional(kib(cells[i + 5])));
    }
    return row;
}

// How many targets were set in all.
size_t replay(const std::string& file, HostPolicy& policy) {
    std::ifstream stream(std::string(ACMA_FIXTURES) + "/policies/" + file);
    EXPECT_TRUE(stream) << file;
    std::string line;
    std::getline(stream, line);
    size_t set = 0;
    while (std::getline(stream, line)) {
        const Row row = row_of(line);
        const std::vector<Bytes> targets = policy.targets(row.host, row.vms, row.at);
        for (size_t i = 0; i < row.vms.size(); ++i) {
            const Bytes expected = row.set[i].value_or(row.vms[i].target);
            EXPECT_EQ(to_kib_floor(targets[i]).count(), to_kib_floor(expected).count())
                << line << ", guest " << i;
            set += row.set[i] ? 1U : 0U;
        }
    }
    return set;
}

TEST(Policies, MomDecidesAsItsRulesDid) {
    EXPECT_GT(replay("mom-0.6.4.csv", *mom_policy()), 100U);
}

TEST(Policies, ProxmoxDecidesAsItsRulesDid) {
    EXPECT_GT(replay("pve-manager-9.2.11.csv", *proxmox_policy()), 100U);
}

TEST(Policies, StaticGivesMaxMem) {
    VmView vm{.ram = 4_GiB, .target = 1_GiB};
    vm.policy.max_mem = 4_GiB;
    EXPECT_EQ(static_policy()->targets({}, {vm}, Time{}), std::vector<Bytes>{4_GiB});
}

}  // namespace
}  // namespace acma::simulation
