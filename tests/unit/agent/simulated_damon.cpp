// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/agent/simulated_damon.h"

#include <cerrno>
#include <filesystem>
#include <map>
#include <utility>

#include "engine/autoscale/page_out.h"

namespace acma::agent {

namespace {

constexpr Bytes k_tried = 1024_GiB;  // a scheme has looked at all there is

int errno_of(const std::string& name) {
    static const std::map<std::string, int> k_numbers{
        {"EBUSY", EBUSY},   {"EINVAL", EINVAL}, {"EPERM", EPERM},         {"ENOENT", ENOENT},
        {"ENOMEM", ENOMEM}, {"ERANGE", ERANGE}, {"ECANCELED", ECANCELED}, {"EACCES", EACCES}};
    const auto found = k_numbers.find(name);
    return found == k_numbers.end() ? EIO : found->second;
}

}  // namespace

SimulatedDamon::SimulatedDamon(const damon::test::Captured& kernel) : tree_(kernel) {
    show();
}

platform::SysfsIo SimulatedDamon::io() {
    platform::SysfsIo io;
    io.write = [this](const std::string& file, std::string_view value) {
        return write(file, value);
    };
    return io;
}

Status SimulatedDamon::write(const std::string& file, std::string_view value) {
    const damon::Write write{file.substr(admin().size() + 1), std::string(value)};
    if (on_write) {
        on_write(write);
    }
    const std::lock_guard lock(mutex_);
    log_.push_back(write);
    const std::string said = answer(write);
    show();
    return said == "ok" ? Status() : error_from_errno(errno_of(said), "write " + file);
}

std::string SimulatedDamon::answer(const damon::Write& write) {
    if (write.value == "on") {  // DAMON_STAT excludes everybody else
        tree_.set_exclusive_user(
            dir_.read("module/damon_stat/parameters/enabled").starts_with('Y'));
    }
    if (write.value == "update_schemes_stats") {
        count_everything();
    }
    const Commit commit =
        write.value == "commit" ? std::exchange(commit_, Commit::usual) : Commit::usual;
    if (commit == Commit::refused) {
        return "EINVAL";
    }
    const std::string said = tree_.write(write);
    if (commit == Commit::ends) {
        tree_.set("kdamonds/0/state", "off");
        tree_.set("kdamonds/0/pid", "-1");
    }
    return said;
}

void SimulatedDamon::count_everything() {
    const damon::Tree tree = tree_.tree();
    for (size_t scheme = 0; scheme < autoscale::k_schemes; ++scheme) {
        const std::string tried =
            "kdamonds/0/contexts/0/schemes/" + std::to_string(scheme) + "/stats/sz_tried";
        if (tree.contains(tried)) {
            tree_.set(tried, std::to_string(k_tried.count()));
        }
    }
}

void SimulatedDamon::end() {
    const std::lock_guard lock(mutex_);
    tree_.set("kdamonds/0/state", "off");
    tree_.set("kdamonds/0/pid", "-1");
    show();
}

void SimulatedDamon::write_as_other(const damon::Write& write) {
    const std::lock_guard lock(mutex_);
    (void)tree_.write(write);
    show();
}

// A file is replaced in one step: a reader sees the old one or the new one.
void SimulatedDamon::show() {
    damon::Tree tree = tree_.tree();
    for (const auto& [path, content] : shown_) {
        if (!tree.contains(path)) {
            std::filesystem::remove(admin() + "/" + path);
        }
    }
    for (const auto& [path, content] : tree) {
        const auto before = shown_.find(path);
        if (before == shown_.end() || before->second != content) {
            const std::filesystem::path file = admin() + "/" + path;
            std::filesystem::create_directories(file.parent_path());
            std::filesystem::rename(dir_.write("next", content), file);
        }
    }
    shown_ = std::move(tree);
}

std::vector<damon::Write> SimulatedDamon::log() const {
    const std::lock_guard lock(mutex_);
    return log_;
}

bool SimulatedDamon::is_on() const {
    const std::lock_guard lock(mutex_);
    const auto state = shown_.find("kdamonds/0/state");
    return state != shown_.end() && state->second.starts_with("on");
}

std::string SimulatedDamon::pid() const {
    const std::lock_guard lock(mutex_);
    const auto pid = shown_.find("kdamonds/0/pid");
    return pid == shown_.end() ? "" : pid->second;
}

}  // namespace acma::agent
