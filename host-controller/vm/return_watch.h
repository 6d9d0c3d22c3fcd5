// SPDX-License-Identifier: Apache-2.0
// A guest that pages out and frees, while the host gets nothing back: a balloon that reports no
// free pages, or a guest that only says so. Once is nothing, since reporting takes seconds and host
// bytes are measured now and then; what lasts is told, and only told. Pure.
#pragma once

#include <optional>
#include <string>

#include "engine/base/units.h"

namespace acma::host {

constexpr Micros k_not_returned_lasts{60'000'000};
constexpr Micros k_not_returned_gone{10'000'000};
// What was measured sooner after a claim began may not show yet what is on its way: all that is
// free is reported "in about 30 seconds" (mm/page_reporting.c).
constexpr Micros k_host_follows{40'000'000};

class ReturnWatch {
  public:
    // A new sample of the guest: `held` is what the host still holds in spite of it (a sentence of
    // not_returned()), `measured_at` the time of the host's figure in it.
    void see(std::optional<std::string> held, Time measured_at, Time now);

    // What is to be told, if anything.
    [[nodiscard]] std::optional<std::string> told(Time now) const;

  private:
    struct Held {
        Time since;
        Time last;
        std::string sentence;
        bool proven = false;  // long enough, and measured since it began
    };
    std::optional<Held> held_;
};

}  // namespace acma::host
