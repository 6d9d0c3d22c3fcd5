// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/damon/simulated_tree.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <vector>

namespace acma::damon::test {

namespace {

bool is_digits(std::string_view text) {
    return !text.empty() &&
           std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> parts(1);
    for (const char c : path) {
        if (c == '/') {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    return parts;
}

// "kdamonds/3/contexts/0" -> "kdamonds/0/contexts/0": where the capture has it.
std::string in_capture(std::string_view path) {
    std::string result;
    for (const std::string& part : split(path)) {
        result += (result.empty() ? "" : "/") + (is_digits(part) ? "0" : part);
    }
    return result;
}

std::string parent(const std::string& path) {
    return path.substr(0, path.rfind('/'));
}
std::string name_of(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

// kstrtoul/kstrtoint with base 0.
std::optional<std::string> kernel_number(std::string_view text, bool negative_allowed) {
    std::string digits(text);
    if (!digits.empty() && digits.back() == '\n') {
        digits.pop_back();
    }
    const bool negative = digits.starts_with('-');
    const std::string magnitude = digits.substr(negative ? 1 : 0);
    if (magnitude.empty() || (negative && !negative_allowed) ||
        std::isdigit(static_cast<unsigned char>(magnitude[0])) == 0) {
        return std::nullopt;
    }
    char* end = nullptr;
    errno = 0;
    const unsigned long long value = std::strtoull(magnitude.c_str(), &end, 0);
    if (*end != '\0' || errno != 0) {
        return std::nullopt;
    }
    return (negative && value != 0 ? "-" : "") + std::to_string(value);
}

bool is_signed(std::string_view name) {
    return name == "pid_target" || name == "target_nid" || name == "nid" ||
           name == "damon_target_idx";
}

bool is_32_bits(std::string_view name) {
    return name.ends_with("_permil") || name == "refresh_ms" || name == "id" || name == "weight" ||
           name.starts_with("fail_charge_");
}

bool is_read_only(std::string_view path, std::string_view name) {
    constexpr std::array<std::string_view, 3> k_names = {"pid", "avail_operations",
                                                         "effective_bytes"};
    return std::ranges::find(k_names, name) != k_names.end() ||
           path.find("/tried_regions/") != std::string_view::npos ||
           (path.find("/stats/") != std::string_view::npos && name != "max_nr_snapshots");
}

}  // namespace

SimulatedTree::SimulatedTree(const Captured& kernel) : kernel_(kernel) {
    tree_["kdamonds/nr_kdamonds"] = "0\n";
}

Tree SimulatedTree::tree() const {
    Tree seen = tree_;
    if (pending_) {
        std::erase_if(seen, [](const auto& file) {
            return file.first.ends_with("/state") || file.first.ends_with("/pid");
        });
    }
    return seen;
}

void SimulatedTree::set(std::string_view path, std::string_view value) {
    tree_.insert_or_assign(std::string(path), std::string(value) + "\n");
}

std::string SimulatedTree::apply(const Plan& plan) {
    for (const Write& one : plan) {
        const std::string answer = write(one);
        if (answer != "ok") {
            return answer + " " + one.path;
        }
    }
    return "ok";
}

std::string SimulatedTree::write(std::string_view path_text, std::string_view value) {
    const std::string path(path_text);
    const std::string name = name_of(path);
    if (!tree_.contains(path)) {
        return "ENOENT";
    }
    if (is_read_only(path, name)) {
        return kernel_.answer("effective_bytes write");
    }
    if (name.starts_with("nr_") && kernel_.tree.contains(in_capture(parent(path)) + "/" + name)) {
        return pending_ ? kernel_.answer("nr_goals while a command is pending")
                        : write_number_of(path, value);
    }
    if (name == "state") {
        return pending_ ? kernel_.answer("commit while a command is pending")
                        : write_state(parent(path), value);
    }
    return write_value(path, value);
}

std::string SimulatedTree::write_number_of(const std::string& path, std::string_view value) {
    const std::optional<std::string> text = kernel_number(value, false);
    if (!text) {
        return kernel_.answer("nr_schemes -1");
    }
    const unsigned long count = std::stoul(*text);
    const std::string name = name_of(path);
    if (name == "nr_contexts" && count > 1) {
        return kernel_.answer("nr_contexts 2");
    }
    if (name == "nr_kdamonds" && any_running()) {
        return kernel_.answer("nr_kdamonds, equal, when on");
    }
    const std::string dir = parent(path);
    destroy_children(dir);
    for (unsigned long i = 0; i < count; i++) {
        create(dir + "/" + std::to_string(i));
    }
    set(path, *text);
    return "ok";
}

void SimulatedTree::destroy_children(const std::string& dir) {
    const std::string prefix = dir + "/";
    std::erase_if(tree_, [&prefix](const auto& file) {
        const std::string& path = file.first;
        return path.starts_with(prefix) &&
               is_digits(path.substr(prefix.size(), path.find('/', prefix.size()) - prefix.size()));
    });
    std::erase_if(started_,
                  [&prefix](const std::string& kdamond) { return kdamond.starts_with(prefix); });
}

// A new directory: what the capture has below it, down to the next level of children.
void SimulatedTree::create(const std::string& dir) {
    const std::string prefix = in_capture(dir) + "/";
    for (const auto& [path, content] : kernel_.tree) {
        if (!path.starts_with(prefix)) {
            continue;
        }
        const std::string below = path.substr(prefix.size());
        const std::vector<std::string> parts = split(below);
        if (std::ranges::any_of(parts, is_digits)) {
            continue;
        }
        // nr_regions/min and stats/nr_tried are no counts of children, "targets/nr_targets" is one.
        const bool counts = parts.back().starts_with("nr_") && parts.size() > 1 &&
                            parts[parts.size() - 2] != "stats";
        set(std::string(dir).append("/").append(below), counts ? "0" : content);
    }
}

bool SimulatedTree::is_running(const std::string& kdamond) const {
    const auto state = tree_.find(kdamond + "/state");
    return state != tree_.end() && state->second == "on\n";
}

bool SimulatedTree::any_running() const {
    return std::ranges::any_of(tree_, [](const auto& file) {
        return file.first.ends_with("/state") && file.second == "on\n";
    });
}

uint64_t SimulatedTree::number(const std::string& path) const {
    const auto found = tree_.find(path);
    return found == tree_.end() ? 0 : std::stoull(found->second);
}

std::string SimulatedTree::refusal_of_regions(const std::string& dir) const {
    uint64_t last_end = 0;
    for (uint64_t i = 0; i < number(dir + "/nr_regions"); i++) {
        const std::string region = dir + "/" + std::to_string(i);
        const uint64_t start = number(region + "/start") / 4096 * 4096;
        const uint64_t end = (number(region + "/end") + 4095) / 4096 * 4096;
        if (start >= end || (i > 0 && last_end > start)) {
            return "EINVAL";
        }
        last_end = end;
    }
    return "";
}

// damon_set_attrs(), damon_sysfs_add_targets(), damon_sysfs_add_scheme_filters().
std::string SimulatedTree::refusal(const std::string& kdamond) const {
    const std::string context = kdamond + "/contexts/0";
    const std::string attrs = context + "/monitoring_attrs";
    const uint64_t least = number(attrs + "/nr_regions/min");
    const uint64_t sample = number(attrs + "/intervals/sample_us");
    if (least < 3 || least > number(attrs + "/nr_regions/max") ||
        sample > number(attrs + "/intervals/aggr_us")) {
        return "EINVAL";
    }
    const std::string goal = attrs + "/intervals/intervals_goal";
    if (number(goal + "/aggrs") > 0 &&
        (sample < number(goal + "/min_sample_us") || sample > number(goal + "/max_sample_us"))) {
        return "EINVAL";
    }
    const bool physical = tree_.at(context + "/operations") == "paddr\n";
    const uint64_t targets = number(context + "/targets/nr_targets");
    if (physical && targets > 1) {
        return "EINVAL";
    }
    for (uint64_t i = 0; i < targets; i++) {
        const std::string dir = context + "/targets/" + std::to_string(i);
        if (!physical && number(dir + "/pid_target") == 0) {
            return "EINVAL";
        }
        if (std::string refused = refusal_of_regions(dir + "/regions"); !refused.empty()) {
            return refused;
        }
    }
    for (const auto& [path, content] : tree_) {
        const std::string filter = parent(path);
        if (!path.starts_with(context + "/schemes/") || name_of(path) != "type") {
            continue;
        }
        const bool memcg = content == "memcg\n" && tree_.at(filter + "/memcg_path") == "\n";
        const bool addr =
            content == "addr\n" && number(filter + "/addr_end") < number(filter + "/addr_start");
        if (memcg || addr) {
            return "ENOMEM";  // whatever is wrong with a scheme
        }
    }
    return "";
}

std::string SimulatedTree::start(const std::string& kdamond) {
    if (is_running(kdamond)) {
        return kernel_.answer("on when on");
    }
    if (exclusive_) {
        return "EBUSY";
    }
    if (std::string refused = refusal(kdamond); !refused.empty()) {
        return refused;
    }
    started_.insert(kdamond);
    set(kdamond + "/state", "on");
    set(kdamond + "/pid", std::to_string(next_pid_++));
    return "ok";
}

std::string SimulatedTree::write_state(const std::string& kdamond, std::string_view word) {
    if (!from_word<StateCommand>(word) ||
        (word == "update_tuned_intervals" && kernel_.answer("update_tuned_intervals") != "ok")) {
        return kernel_.answer("nonsense word");
    }
    if (word != "off" && number(kdamond + "/contexts/nr_contexts") != 1) {
        return "EINVAL";
    }
    if (word == "on") {
        return start(kdamond);
    }
    const bool started = started_.contains(kdamond);
    if (word == "off") {
        if (!is_running(kdamond)) {
            return kernel_.answer(started ? "off, already ended" : "off, never started");
        }
        set(kdamond + "/state", "off");
        set(kdamond + "/pid", "-1");
        return "ok";
    }
    if (!is_running(kdamond)) {
        return kernel_.answer(started ? "commit, already ended" : "commit, never started");
    }
    if (word != "commit") {
        return "ok";
    }
    std::string refused = refusal(kdamond);
    if (refused.empty()) {
        return "ok";
    }
    if (kernel_.answer("state after bad commit nr_regions_min") == "off") {
        set(kdamond + "/state", "off");
        set(kdamond + "/pid", "-1");
        return kernel_.answer("bad commit nr_regions_min");
    }
    return refused;
}

std::string SimulatedTree::word_answer(const std::string& path, std::string_view word) const {
    const std::string name = name_of(path);
    const std::string list = name_of(parent(parent(path)));
    if (path.find("/probes/") != std::string::npos) {
        return word == "anon" || word == "memcg" ? "ok" : "EINVAL";
    }
    std::string what = "word ";
    if (name == "type") {
        what += list + " type ";
    } else if (name == "metric") {
        what += "watermarks metric ";
    } else {
        what += name + " ";
    }
    return kernel_.answer(what + std::string(word));
}

std::string SimulatedTree::write_value(const std::string& path, std::string_view value) {
    const std::string name = name_of(path);
    const std::string& original = kernel_.tree.at(in_capture(path));
    if (name == "memcg_path" || name == "path") {
        set(path, value);  // the kernel adds a newline of its own
        return "ok";
    }
    if (original == "Y" || original == "N") {
        if (value != "Y" && value != "N" && value != "1" && value != "0") {
            return "EINVAL";
        }
        set(path, value == "Y" || value == "1" ? "Y" : "N");
        return "ok";
    }
    if (kernel_number(original, true)) {
        const std::optional<std::string> text = kernel_number(value, is_signed(name));
        if (!text) {
            return kernel_.answer("bytes nonsense");
        }
        if (is_32_bits(name) && text->size() > 9 && std::stoull(*text) > 0xffff'ffff) {
            return kernel_.answer("age_permil 4294967296");
        }
        if (name == "addr_unit" && *text == "0") {
            return kernel_.answer("addr_unit 0");
        }
        set(path, *text);
        return "ok";
    }
    std::string answer = word_answer(path, value);
    if (answer == "ok") {
        set(path, value);
    }
    return answer;
}

}  // namespace acma::damon::test
