// SPDX-License-Identifier: Apache-2.0
// What one line from a peer may cost. Both sides treat the other as hostile.
#pragma once

#include <cstddef>

namespace acma::proto {

// acma-set-policy takes under 300 bytes; two hundred times that leaves room and still lets an agent
// hold it in its 8 MiB. libvirt itself would let 4 MiB through (REMOTE_STRING_MAX).
constexpr size_t k_max_request_bytes = size_t{64} * 1024;
// A status with every text at its bound takes about 20 KiB; guest-info of qemu-ga about 4 KiB. With
// 1,000 VMs that all fill their buffer it is still only 256 MiB on the host.
constexpr size_t k_max_reply_bytes = size_t{256} * 1024;
// Our deepest message nests four levels.
constexpr size_t k_max_depth = 16;
// Values (as separators) of a line: a request has about ten, guest-info with 256 commands 1,800.
// About 100 bytes each in memory, whatever the line's length.
constexpr size_t k_max_request_values = 256;
constexpr size_t k_max_reply_values = 4096;

}  // namespace acma::proto
