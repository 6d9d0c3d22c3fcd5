// SPDX-License-Identifier: Apache-2.0
// Any text as each of the documents: refused, or stable. The first byte picks the document.
#include "proto/controller_api.h"
#include "proto/decision_json.h"
#include "proto/history_api.h"
#include "proto/status_json.h"
#include "tests/fuzz/fuzz.h"

using acma::fuzz::require;
using namespace acma::proto;

namespace {
template <typename T>
void check(std::string_view text) {
    const auto document = from_json<T>(text);
    if (document) {
        const auto again = from_json<T>(to_json(*document));
        require(again.ok() && *again == *document, "to_json(from_json(x)) is stable");
    }
    const auto strict = from_json_strict<T>(text);
    require(!strict || (document && *strict == *document),
            "strict takes a part of what lenient does");
}
// A line of the decision log, which a crash may have cut off anywhere.
void check_decision(std::string_view text) {
    const auto record = from_json<acma::arbiter::Record>(text);
    if (record) {
        const auto again = from_json<acma::arbiter::Record>(to_json(*record, Layout::line));
        require(again.ok() && *again == *record, "to_json(from_json(x)) is stable");
    }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const std::string_view text = acma::fuzz::as_text(data + 1, size - 1);
    switch (data[0] % 10) {
        case 0:
            check<acma::AgentStatus>(text);
            break;
        case 1:
            check<VmList>(text);
            break;
        case 2:
            check<VmDetail>(text);
            break;
        case 3:
            check<Explanation>(text);
            break;
        case 4:
            check<ReservationRequest>(text);
            break;
        case 5:
            check<PolicyChange>(text);
            break;
        case 6:
            check<UsageReport>(text);
            break;
        case 7:
            check<ReservationList>(text);
            break;
        case 8:
            check_decision(text);
            break;
        default:
            check<HistoryReport>(text);
            break;
    }
    return 0;
}
