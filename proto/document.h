// SPDX-License-Identifier: Apache-2.0
// Whole JSON documents: what `--json` prints and what the controller's API carries. Instantiated
// in proto for the structs of controller_api.h, history_api.h and status_json.h only; the field
// list of each is in proto/lists.h.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace acma::proto {

enum class Layout {
    line,      // compact, one line, no newline at the end: for the wire and for logs
    indented,  // for people, ends in a newline
};

template <typename Document>
[[nodiscard]] std::string to_json(const Document& document, Layout layout = Layout::line);

// Unknown fields are ignored (the writer may be one release newer); a missing, mistyped or
// out-of-range one is an error that names it. Never throws.
template <typename Document>
[[nodiscard]] Result<Document> from_json(std::string_view text);

// For what a person or a script asks us to do (PolicyChange): an unknown field is an error too,
// since ignoring a misspelt wish is worse than refusing it.
template <typename Document>
[[nodiscard]] Result<Document> from_json_strict(std::string_view text);

}  // namespace acma::proto
