// SPDX-License-Identifier: Apache-2.0
#include "tests/workload/options.h"

#include <algorithm>
#include <charconv>

namespace acma::workload {
namespace {

Result<uint64_t> parse_number(std::string_view text) {
    uint64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc() || end != text.data() + text.size()) {
        return Error{ErrorCode::invalid, "'" + std::string(text) + "' is not an unsigned number"};
    }
    return value;
}

}  // namespace

Result<Options> Options::parse(std::span<const std::string_view> words,
                               std::span<const std::string_view> known) {
    Options options;
    for (size_t index = 0; index < words.size(); ++index) {
        const std::string_view word = words[index];
        if (!word.starts_with("--")) {
            options.words_.emplace_back(word);
            continue;
        }
        if (std::find(known.begin(), known.end(), word) == known.end()) {
            return Error{ErrorCode::invalid, "unknown option " + std::string(word)};
        }
        if (index + 1 == words.size()) {
            return Error{ErrorCode::invalid, std::string(word) + " needs a number"};
        }
        const auto value = parse_number(words[++index]);
        if (!value) {
            return value.error().in(word);
        }
        options.numbers_[std::string(word)] = *value;
    }
    return options;
}

uint64_t Options::number(std::string_view name, uint64_t otherwise) const {
    const auto found = numbers_.find(name);
    return found == numbers_.end() ? otherwise : found->second;
}

Bytes Options::mib(std::string_view name, uint64_t otherwise) const {
    return 1_MiB * number(name, otherwise);
}

Result<std::vector<Phase>> parse_phases(std::string_view text) {
    std::vector<Phase> phases;
    while (!text.empty()) {
        const std::string_view step = text.substr(0, text.find(','));
        text.remove_prefix(std::min(text.size(), step.size() + 1));
        const size_t colon = step.find(':');
        if (colon == std::string_view::npos) {
            return Error{ErrorCode::invalid,
                         "a phase is MIB:SECONDS, not '" + std::string(step) + "'"};
        }
        const auto hot_mib = parse_number(step.substr(0, colon));
        const auto seconds = parse_number(step.substr(colon + 1));
        if (!hot_mib || !seconds) {
            return (hot_mib ? seconds : hot_mib).error().in(step);
        }
        phases.push_back({1_MiB * *hot_mib, Seconds(*seconds)});
    }
    if (phases.empty()) {
        return Error{ErrorCode::invalid, "no phases"};
    }
    return phases;
}

}  // namespace acma::workload
