// SPDX-License-Identifier: Apache-2.0
#include "platform/damon_sysfs.h"

#include <charconv>
#include <filesystem>
#include <system_error>

namespace acma::platform {

namespace {

std::string kdamond_file(size_t kdamond, std::string_view name) {
    return "kdamonds/" + std::to_string(kdamond) + "/" + std::string(name);
}

constexpr Micros k_between_tries = Millis(1);

Result<uint64_t> parse_number(const std::string& text, const std::string& path) {
    uint64_t number = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc{}) {
        return Error{ErrorCode::invalid, path + " does not hold a number"};
    }
    return number;
}

}  // namespace

template <typename Try>
auto DamonSysfs::patiently(Micros patience, Try attempt) const {
    const Time deadline = io_.now() + patience;
    for (;;) {
        auto result = attempt();
        if (result.ok() || result.error().code != ErrorCode::busy || io_.now() >= deadline) {
            return result;
        }
        io_.sleep(k_between_tries);
    }
}

std::string DamonSysfs::path(std::string_view relative) const {
    return dir_ + "/" + std::string(relative);
}

bool DamonSysfs::present() const {
    std::error_code err;
    return std::filesystem::is_directory(dir_, err);
}

Result<damon::Tree> DamonSysfs::read_tree() const {
    damon::Tree tree;
    std::error_code err;
    std::filesystem::recursive_directory_iterator it(dir_, err);
    if (err) {
        return error_from_errno(err.value(), "open " + dir_);
    }
    for (; it != std::filesystem::recursive_directory_iterator(); it.increment(err)) {
        std::error_code gone;
        if (!it->is_regular_file(gone)) {
            continue;
        }
        const std::string file = it->path().string();
        auto text = io_.read(file);
        if (text) {
            tree.emplace(file.substr(dir_.size() + 1), std::move(*text));
        } else if (text.error().code != ErrorCode::busy) {
            return text.error();
        }
    }
    if (err) {  // a step that fails ends the listing
        return error_from_errno(err.value(), "list " + dir_);
    }
    return tree;
}

Status DamonSysfs::write(const damon::Write& write, Micros patience) const {
    return patiently(patience, [&] { return io_.write(path(write.path), write.value); });
}

Result<uint64_t> DamonSysfs::read_number(const std::string& file) const {
    const auto text = io_.read(file);
    return text ? parse_number(*text, file) : Result<uint64_t>(text.error());
}

Status DamonSysfs::apply(const damon::Plan& plan, Micros patience) const {
    for (const auto& item : plan) {
        if (Status status = write(item, patience); !status) {
            return status;
        }
    }
    return {};
}

Status DamonSysfs::command(size_t kdamond, damon::StateCommand command, Micros patience) const {
    return write(damon::state_write(kdamond, command), patience);
}

Result<damon::State> DamonSysfs::state(size_t kdamond) const {
    const std::string file = path(kdamond_file(kdamond, "state"));
    auto text = patiently(k_damon_patience, [&] { return io_.read(file); });
    if (!text) {
        return text.error();
    }
    return text->starts_with("on") ? damon::State::on : damon::State::off;
}

Result<int> DamonSysfs::pid(size_t kdamond) const {
    const std::string file = path(kdamond_file(kdamond, "pid"));
    auto text = patiently(k_damon_patience, [&] { return io_.read(file); });
    if (!text) {
        return text.error();
    }
    if (text->starts_with("-")) {
        return -1;
    }
    const auto number = parse_number(*text, file);
    return number ? Result<int>(static_cast<int>(*number)) : Result<int>(number.error());
}

Result<DamonSysfs::Done> DamonSysfs::scheme_done(size_t kdamond, size_t scheme) const {
    const std::string stats =
        path(kdamond_file(kdamond, "contexts/0/schemes/" + std::to_string(scheme) + "/stats/"));
    const auto tried = read_number(stats + "sz_tried");
    const auto applied = read_number(stats + "sz_applied");
    const auto full_windows = read_number(stats + "qt_exceeds");
    for (const auto* number : {&tried, &applied, &full_windows}) {
        if (!*number) {
            return number->error();
        }
    }
    return Done{.tried = Bytes(*tried), .applied = Bytes(*applied), .full_windows = *full_windows};
}

Result<damon::TriedRegions> DamonSysfs::tried_regions(size_t kdamond, size_t scheme) const {
    const std::string dir = path(
        kdamond_file(kdamond, "contexts/0/schemes/" + std::to_string(scheme) + "/tried_regions"));
    damon::TriedRegions tried;
    std::error_code err;
    for (auto entry = std::filesystem::directory_iterator(dir, err);
         entry != std::filesystem::directory_iterator(); entry.increment(err)) {
        if (err || !entry->is_directory(err)) {
            continue;
        }
        const std::string region = entry->path().string() + "/";
        const auto start = read_number(region + "start");
        const auto end = read_number(region + "end");
        const auto accesses = read_number(region + "nr_accesses");
        const auto age = read_number(region + "age");
        for (const auto* number : {&start, &end, &accesses, &age}) {
            if (!*number) {
                return number->error();
            }
        }
        tried.regions.push_back({.start = damon::Address(*start),
                                 .end = damon::Address(*end),
                                 .nr_accesses = SampleCount(*accesses),
                                 .age = AggrIntervals(*age)});
        tried.total += Bytes(*end - std::min(*start, *end));
    }
    if (err) {
        return error_from_errno(err.value(), dir);
    }
    std::sort(tried.regions.begin(), tried.regions.end(),
              [](const auto& a, const auto& b) { return a.start < b.start; });
    return tried;
}

Result<damon::Features> DamonSysfs::detect_features() const {
    const damon::Staging staging = damon::staging();
    if (Status status = apply(staging.build); !status) {
        return status.error().in("detecting DAMON's features");
    }
    std::error_code err;
    for (const auto& item : staging.build_if_present) {
        if (std::filesystem::exists(path(item.path), err)) {
            if (Status status = write(item, k_damon_patience); !status) {
                return status.error().in("detecting DAMON's features");
            }
        }
    }
    const auto staged = read_tree();
    std::vector<damon::Feature> accepted;
    for (const auto& probe : staging.probes) {
        const Status status = write(probe.write, k_damon_patience);
        if (status) {
            accepted.push_back(probe.feature);
        } else if (status.error().code == ErrorCode::busy) {  // says nothing about the feature
            return status.error().in("detecting DAMON's features");
        }
    }
    if (Status status = apply(staging.clear); !status) {
        return status.error().in("detecting DAMON's features");
    }
    return staged ? damon::detect(*staged, accepted) : Result<damon::Features>(staged.error());
}

}  // namespace acma::platform
