// SPDX-License-Identifier: Apache-2.0
// The operator's page: hand-written files of this folder, which the build puts into the program.
#pragma once

#include <span>
#include <string_view>

namespace acma::host {

struct PageFile {
    std::string_view path;  // "/page.css"
    std::string_view content_type;
    std::string_view content;
};
[[nodiscard]] std::span<const PageFile> page_files();

// Its own files and the API of where it came from; no script or style inside the document, and no
// text is ever taken for markup: names of domains and words of guests are not ours.
constexpr std::string_view k_page_policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

}  // namespace acma::host
