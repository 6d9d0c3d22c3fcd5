// SPDX-License-Identifier: Apache-2.0
#include "host-controller/api_asio/query.h"

#include <algorithm>

#include "host-controller/api_asio/percent.h"

namespace acma::host {

Result<Query> read_query(std::string_view target) {
    target.remove_prefix(std::min(target.find('?'), target.size()));
    Query query;
    while (!target.empty()) {
        target.remove_prefix(1);  // '?' or '&'
        const std::string_view part = target.substr(0, target.find('&'));
        target.remove_prefix(part.size());
        if (part.empty()) {
            continue;
        }
        const size_t equals = std::min(part.find('='), part.size());
        Result<std::string> value = percent_decode(part.substr(std::min(equals + 1, part.size())));
        if (!value) {
            return value.error();
        }
        query.emplace_back(part.substr(0, equals), *std::move(value));
    }
    return query;
}

}  // namespace acma::host
