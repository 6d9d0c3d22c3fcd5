// SPDX-License-Identifier: Apache-2.0
// QEMU serves one client of a channel's socket: a second connection succeeds and then waits in the
// listener's queue without a word. /proc/net/unix tells.
#pragma once

#include <string_view>

namespace acma::host {

// Whether a connection to `path` waits to be accepted. Columns of /proc/net/unix: Num RefCount
// Protocol Flags Type St Inode Path; a connection that nobody accepted has no inode of its own (0)
// and state 02 (net/unix/af_unix.c: unix_seq_show).
[[nodiscard]] bool waits_for_accept(std::string_view proc_net_unix, std::string_view path);

}  // namespace acma::host
