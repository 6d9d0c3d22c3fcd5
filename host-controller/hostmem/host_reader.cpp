// SPDX-License-Identifier: Apache-2.0
#include "host-controller/hostmem/host_reader.h"

#include <algorithm>

#include <unistd.h>

#include "platform/file.h"
#include "platform/proc.h"

namespace acma::host {

namespace {
constexpr Micros k_window{10'000'000};  // as PSI's own avg10
}

void HostReader::read(proto::HostSummary& host, HostCounters& counters, Time now) {
    if (const auto text = platform::read_file((proc_ / "meminfo").string())) {
        if (const auto memory = platform::parse_meminfo(*text)) {
            host.mem_total = memory->total;
            host.mem_available = memory->available;
        }
    }
    if (const auto text = platform::read_file((proc_ / "vmstat").string())) {
        counters.swap_out_total =
            platform::parse_vmstat(*text, Bytes(static_cast<uint64_t>(::getpagesize())))
                .swap_out_total;
    }
    const auto text = platform::read_file((proc_ / "pressure/memory").string());
    const auto total = text ? platform::parse_psi_some_total(*text) : text.error();
    if (!total) {
        return;
    }
    counters.psi_some_total = *total;
    if (!window_start_) {
        window_start_ = Stalled{now, *total};
    }
    const Micros elapsed = now - window_start_->at;
    if (elapsed < k_window) {
        return;
    }
    const Micros stalled = std::max(*total - window_start_->total, Micros(0));
    host.psi = BasisPoints(detail::mul_div_saturating(
        static_cast<uint64_t>(stalled.count()), 10'000, static_cast<uint64_t>(elapsed.count())));
    window_start_ = Stalled{now, *total};
}

}  // namespace acma::host
