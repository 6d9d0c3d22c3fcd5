// SPDX-License-Identifier: Apache-2.0
// Any line is a request that encodes to itself, or gets a refusal that its sender can read.
#include "proto/messages.h"
#include "tests/fuzz/fuzz.h"

using acma::fuzz::require;
using namespace acma::proto;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto decoded = decode_request(acma::fuzz::as_text(data, size));
    if (const auto* request = std::get_if<Request>(&decoded)) {
        const auto again = decode_request(encode(*request));
        require(std::holds_alternative<Request>(again), "an encoded request is a request");
        require(std::get<Request>(again) == *request, "encode(decode(x)) is stable");
        return 0;
    }
    const auto& refusal = std::get<Reply>(decoded);
    const std::string line = encode(refusal);
    require(line.find_first_of("\n\xFF") == std::string::npos, "a refusal is one line");
    const auto read = decode_reply(line, Request{Ping{}, refusal.id});
    require(read.ok() && *read && **read == refusal.outcome, "a refusal can be read");
    return 0;
}
