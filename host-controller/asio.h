// SPDX-License-Identifier: Apache-2.0
// The one way to Asio. Boost 1.74 uses std::exchange without including <utility>, which g++ 12 no
// longer does for it; so <utility> comes first, and nothing may be sorted above it.
#pragma once

// clang-format off
#include <utility>
#include <boost/asio.hpp>
// clang-format on

namespace acma::host {
namespace asio = boost::asio;
}  // namespace acma::host
