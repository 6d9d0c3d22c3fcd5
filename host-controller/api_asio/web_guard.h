// SPDX-License-Identifier: Apache-2.0
// Against web pages that use an operator's browser to reach us. A page of another site can make it
// send requests here. What it may not do is read the answers (we allow no other origin, CORS) and
// change anything (a browser says whose page asks, and we take no changes from pages).
//
// It may also bind a name of its own to our address (DNS rebinding), so that its page and we are
// one site to the browser. The name that was asked for tells: it is not one of ours.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace acma::host {

// `host` is the Host header, "name:port" or "[2001:db8::1]:port". Ours are IP addresses, localhost
// and `names`, in whatever case.
[[nodiscard]] bool asks_for_us(std::string_view host, const std::vector<std::string>& names);

// Content-Security-Policy of what is not to be shown as a page.
constexpr std::string_view k_no_content =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace acma::host
