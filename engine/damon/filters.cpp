// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/features.h"
#include "engine/damon/tree.h"

namespace acma::damon {

namespace {

// damos_filter_for_ops() (7.3)
FilterLayer layer_of(const Filter& filter) {
    const bool core = filter.type == FilterType::addr || filter.type == FilterType::target;
    return core ? FilterLayer::core : FilterLayer::ops;
}

// On a kernel that only rejects, every filter that matches rejects. A list whose last filter allows
// ends with "pass if it matches, else reject", which is "reject what does not match".
Status make_reject_only(std::vector<Filter>& filters) {
    for (size_t i = 0; i < filters.size(); i++) {
        if (!filters[i].allow) {
            continue;
        }
        if (i + 1 != filters.size()) {
            return Error{ErrorCode::unsupported,
                         "filter " + std::to_string(i) + " (" +
                             std::string(to_string(filters[i].type)) +
                             ") allows and is not the last of its layer, which has no form on this "
                             "kernel (allow: since 6.14); put it last or turn it into rejects"};
        }
        filters[i].allow = false;
        filters[i].matching = !filters[i].matching;
    }
    return {};
}

// What core filters allow skips the ops filters, so "core allow, then ops" is an OR, and rejects
// can only be ANDed.
Status reject_only(FilterDirs& dirs) {
    if (!dirs.core.empty() && dirs.core.back().allow && !dirs.ops.empty()) {
        return Error{ErrorCode::unsupported,
                     "an addr or target filter that allows, together with page level filters, has "
                     "no form on this kernel (allow: since 6.14); reject the opposite instead"};
    }
    Status core = make_reject_only(dirs.core);
    if (!core) {
        return core;
    }
    return make_reject_only(dirs.ops);
}

void append(std::vector<Filter>& to, const std::vector<Filter>& from) {
    to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

Result<FilterDirs> filter_dirs(const std::vector<Filter>& filters, const Features& features) {
    FilterDirs dirs;
    const bool layered = features.has(Feature::layered_filters);
    for (Filter filter : filters) {
        if (filter.layer == FilterLayer::both && layered) {
            dirs.both.push_back(filter);
            continue;
        }
        filter.layer = layer_of(filter);
        (filter.layer == FilterLayer::core ? dirs.core : dirs.ops).push_back(filter);
    }
    if (!features.has(Feature::filter_allow)) {
        const Status status = reject_only(dirs);
        if (!status) {
            return status.error();
        }
    }
    if (!layered) {
        append(dirs.both, dirs.core);
        append(dirs.both, dirs.ops);
        dirs.core.clear();
        dirs.ops.clear();
        for (Filter& filter : dirs.both) {
            filter.layer = FilterLayer::both;
        }
    }
    return dirs;
}

}  // namespace acma::damon
