// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/damon/captured.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/unit/damon/simulated_tree.h"

namespace acma::damon::test {

namespace {

std::string read_file(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

template <typename Map>
Map read_tsv(const std::filesystem::path& path) {
    Map map;
    std::istringstream lines(read_file(path));
    for (std::string line; std::getline(lines, line);) {
        const size_t tab = line.find('\t');
        if (tab != std::string::npos) {
            map.insert_or_assign(line.substr(0, tab), line.substr(tab + 1));
        }
    }
    return map;
}

std::map<std::string, Captured> load_all() {
    std::map<std::string, Captured> kernels;
    for (const auto& entry : std::filesystem::directory_iterator(ACMA_DAMON_FIXTURES)) {
        if (!entry.is_directory()) {
            continue;
        }
        Captured kernel;
        kernel.dir = entry.path();
        kernel.release = entry.path().filename().string();
        kernel.tree = read_tsv<Tree>(kernel.dir / "tree.tsv");
        kernel.behaviour = read_tsv<Behaviour>(kernel.dir / "behaviour.tsv");
        const size_t dot = kernel.release.find('.', kernel.release.find('.') + 1);
        kernels.insert_or_assign(kernel.release.substr(0, dot), std::move(kernel));
    }
    return kernels;
}

const std::map<std::string, Captured>& kernels() {
    static const std::map<std::string, Captured> loaded = load_all();
    return loaded;
}

}  // namespace

const std::string& Captured::answer(std::string_view what) const {
    static const std::string none = "(never asked)";
    const auto found = behaviour.find(what);
    return found == behaviour.end() ? none : found->second;
}

std::string Captured::text(std::string_view file) const {
    return read_file(dir / file);
}

const Captured& captured(std::string_view series) {
    return kernels().at(std::string(series));
}

std::vector<std::string> all_series() {
    std::vector<std::string> names;
    for (const auto& [series, kernel] : kernels()) {
        names.push_back(series);
    }
    return names;
}

Features features_of(const Captured& kernel) {
    SimulatedTree sysfs(kernel);
    const Staging stage = staging();
    for (const Write& write : stage.build) {
        EXPECT_EQ(sysfs.write(write), "ok") << write.path;
    }
    for (const Write& write : stage.build_if_present) {
        if (sysfs.tree().contains(write.path)) {
            EXPECT_EQ(sysfs.write(write), "ok") << write.path;
        }
    }
    const Tree staged = sysfs.tree();
    std::vector<Feature> accepted;
    for (const WordProbe& probe : stage.probes) {
        if (sysfs.write(probe.write) == "ok") {
            accepted.push_back(probe.feature);
        }
    }
    for (const Write& write : stage.clear) {
        EXPECT_EQ(sysfs.write(write), "ok") << write.path;
    }
    const Result<Features> features = detect(staged, accepted);
    EXPECT_TRUE(features.ok());
    return features.value_or(Features{});
}

std::string to_tsv(const Plan& plan) {
    std::string text;
    for (const Write& write : plan) {
        text += write.path + "\t" + write.value + "\n";
    }
    return text;
}

void expect_golden(const std::filesystem::path& file, const std::string& text) {
    if (std::getenv("ACMA_REGENERATE_GOLDENS") != nullptr) {
        std::ofstream(file) << text;
        return;
    }
    EXPECT_EQ(read_file(file), text) << "golden: " << file;
}

}  // namespace acma::damon::test
