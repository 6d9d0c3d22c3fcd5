// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/strain.h"

#include <array>

namespace acma::arbiter {

std::string_view to_string(Strain strain) {
    constexpr std::array<std::string_view, 3> k_words{"none", "strained", "emergency"};
    return k_words.at(static_cast<size_t>(strain));
}

Strain StrainWatch::observe(const HostSample& sample, Time now) {
    if (!window_) {
        window_ = Seen{now, sample.psi_some_total, sample.swap_out_total};
    }
    if (const Micros passed = now - window_->at; passed >= k_strain_window) {
        const auto stalled = std::max(sample.psi_some_total - window_->psi_some_total, Micros(0));
        const auto span = static_cast<uint64_t>(passed.count());
        psi_ = std::min(k_full_bp, BasisPoints(detail::mul_div_saturating(
                                       static_cast<uint64_t>(stalled.count()), 10'000, span)));
        swap_per_s_ = Bytes(detail::mul_div_saturating(
            (sample.swap_out_total - window_->swap_out_total).count(), 1'000'000, span));
        window_ = Seen{now, sample.psi_some_total, sample.swap_out_total};
    }
    const Bytes enough =
        strain_ == Strain::none ? sample.reserve / k_strained_part : sample.reserve / 4 * 3;
    const bool little = sample.available < enough;
    // Pressure without shortage is somebody's cgroup limit, or one NUMA node's: taking memory from
    // all guests would not help it.
    const bool alarm = little && (psi_ >= k_emergency_psi || swap_per_s_ >= k_emergency_swap_per_s);
    if (alarm) {
        alarmed_at_ = now;
    }
    const bool calm = !alarmed_at_ || now - *alarmed_at_ >= k_emergency_calm;
    if (!little) {
        strain_ = calm ? Strain::none : Strain::strained;
    } else {
        strain_ = calm ? Strain::strained : Strain::emergency;
    }
    short_of_ = sample.reserve - sample.available;
    reason_ = strain_ == Strain::none
                  ? std::string()
                  : human(sample.available) + " are available of " + human(sample.reserve) +
                        " that the host keeps for itself, it stalls " + human(psi_) +
                        " of the time and swaps out " + human(swap_per_s_) + "/s";
    return strain_;
}

}  // namespace acma::arbiter
