// SPDX-License-Identifier: Apache-2.0
// Any line as the reply to any command: refused, or what it means encodes to the same meaning.
// The first byte picks the command.
#include <array>

#include "proto/guest_file.h"
#include "proto/messages.h"
#include "tests/fuzz/fuzz.h"

using acma::fuzz::require;
using namespace acma::proto;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::array<Command, 6> k_commands{SyncDelimited{}, Sync{},      Ping{},
                                                   Info{},          SetPolicy{}, GetStatus{}};
    if (size == 0) {
        return 0;
    }
    const Request request{k_commands[data[0] % k_commands.size()],
                          data[0] < 128 ? Id{int64_t{1}} : Id{}};
    const auto line = acma::fuzz::as_text(data + 1, size - 1);
    const auto decoded = decode_reply(line, request);
    // A tab before it keeps a line from being read as plain.
    const auto other = decode_reply("\t" + std::string(line), request);
    require(decoded.ok() == other.ok() && (!decoded.ok() || *decoded == *other),
            "a line means the same either way");
    if (decoded && *decoded) {
        const auto again = decode_reply(encode(Reply{**decoded, request.id}), request);
        require(again.ok() && *again && **again == **decoded, "encode(decode(x)) is stable");
    } else if (!decoded) {
        require(decoded.error().message.size() < 1000, "an error is short");
    }
    (void)opened_file(acma::fuzz::as_text(data, size));
    constexpr size_t k_most = 64;
    const auto content = read_from_file(acma::fuzz::as_text(data, size), k_most);
    require(!content || content->size() <= k_most, "no more than was asked for");
    return 0;
}
