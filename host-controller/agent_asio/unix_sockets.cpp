// SPDX-License-Identifier: Apache-2.0
#include "host-controller/agent_asio/unix_sockets.h"

#include <algorithm>
#include <array>

namespace acma::host {

namespace {
std::string_view next_word(std::string_view& line) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    const std::string_view word = line.substr(0, line.find(' '));
    line.remove_prefix(word.size());
    return word;
}
}  // namespace

bool waits_for_accept(std::string_view proc_net_unix, std::string_view path) {
    while (!proc_net_unix.empty()) {
        std::string_view line = proc_net_unix.substr(0, proc_net_unix.find('\n'));
        proc_net_unix.remove_prefix(std::min(line.size() + 1, proc_net_unix.size()));
        std::array<std::string_view, 7> words;
        for (std::string_view& word : words) {
            word = next_word(line);
        }
        line.remove_prefix(std::min<size_t>(1, line.size()));
        if (line == path && words[5] == "02" && words[6] == "0") {
            return true;
        }
    }
    return false;
}

}  // namespace acma::host
