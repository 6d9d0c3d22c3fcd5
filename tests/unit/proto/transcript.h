// SPDX-License-Identifier: Apache-2.0
// Transcripts of the wire as fixtures: see tests/fixtures/proto/README.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <json/value.h>

namespace acma::proto {

struct Step {
    std::string from;  // "controller" or "agent"
    bool sentinel = false;
    std::string text;

    [[nodiscard]] std::string bytes() const { return (sentinel ? "\xFF" : "") + text + "\n"; }
    bool operator==(const Step&) const = default;
};
using Transcript = std::vector<Step>;

// `name` under tests/fixtures/proto; empty (and a test failure) if it cannot be read.
[[nodiscard]] Transcript load_transcript(const std::string& name);
void save_transcript(const std::string& name, const Transcript& transcript);

// Any JSON text, and back with its keys sorted: to compare messages by meaning.
[[nodiscard]] Json::Value parsed(const std::string& text);
[[nodiscard]] std::string sorted(const Json::Value& value);

// Whole lines, as one side sent them.
void append_steps(Transcript& transcript, const std::string& from, std::string_view bytes);

}  // namespace acma::proto
