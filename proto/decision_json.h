// SPDX-License-Identifier: Apache-2.0
// A line of the decision log: one cycle of the arbiter (docs/protocol.md, "Decision log"). A
// library of its own, since no guest agent needs it.
#pragma once

#include <string>
#include <string_view>

#include "engine/arbiter/record.h"
#include "proto/document.h"

namespace acma::proto {

// A field never changes its meaning; what older readers would misunderstand gets a new version.
constexpr uint64_t k_decision_version = 1;

template <>
[[nodiscard]] std::string to_json<arbiter::Record>(const arbiter::Record& record, Layout layout);

// Error{unsupported}: of a newer version.
template <>
[[nodiscard]] Result<arbiter::Record> from_json<arbiter::Record>(std::string_view line);

}  // namespace acma::proto
