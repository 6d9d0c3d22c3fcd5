// SPDX-License-Identifier: Apache-2.0
#include "engine/arbiter/reservations.h"

#include <algorithm>
#include <utility>

namespace acma::arbiter {

Result<Reservation> Reservations::add(Bytes size, std::string domain, Micros lasts, Time now) {
    if (size == Bytes(0) || lasts <= Micros(0) || lasts > k_longest_reservation) {
        return Error{ErrorCode::invalid, "a reservation has a size, and lasts for at most " +
                                             human(Micros(k_longest_reservation))};
    }
    const auto of_domain = [&domain](const Reservation& r) { return r.domain == domain; };
    if (!domain.empty() && std::any_of(all_.begin(), all_.end(), of_domain)) {
        return Error{ErrorCode::busy, "there is a reservation for '" + domain + "' already"};
    }
    if (all_.size() >= k_most) {
        return Error{ErrorCode::busy,
                     "there are " + std::to_string(k_most) + " reservations already"};
    }
    all_.push_back({++last_, size, std::move(domain), now + lasts});
    return all_.back();
}

Result<Reservation> Reservations::give_up(uint64_t id) {
    const auto found =
        std::find_if(all_.begin(), all_.end(), [id](const Reservation& r) { return r.id == id; });
    if (found == all_.end()) {
        return Error{ErrorCode::not_found, "there is no reservation " + std::to_string(id) +
                                               "; it may have been used up or have ended"};
    }
    Reservation gone = *found;
    all_.erase(found);
    return gone;
}

std::optional<Reservation> Reservations::use(std::string_view name, std::string_view uuid) {
    const auto found = std::find_if(all_.begin(), all_.end(), [&](const Reservation& r) {
        return !r.domain.empty() && (r.domain == name || r.domain == uuid);
    });
    if (found == all_.end()) {
        return std::nullopt;
    }
    Reservation used = *found;
    all_.erase(found);
    return used;
}

std::vector<Reservation> Reservations::end(Time now) {
    const auto kept = std::stable_partition(all_.begin(), all_.end(),
                                            [now](const Reservation& r) { return r.until > now; });
    std::vector<Reservation> ended(kept, all_.end());
    all_.erase(kept, all_.end());
    return ended;
}

Bytes Reservations::total() const {
    Bytes sum;
    for (const Reservation& reservation : all_) {
        sum += reservation.size;
    }
    return sum;
}

}  // namespace acma::arbiter
