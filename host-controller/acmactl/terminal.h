// SPDX-License-Identifier: Apache-2.0
// The terminal as a screen that is drawn again and again: keys come at once and unseen, the shell's
// lines are left alone. It is put back as it was when this goes, when a signal ends the program,
// and while it is stopped (Ctrl-Z). One at a time.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "host-controller/acmactl/top_view.h"

namespace acma::ctl {

class Terminal {
  public:
    // Standard output is a terminal; of standard input keys are read if it is one.
    Terminal();
    ~Terminal();
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    [[nodiscard]] Screen size() const;
    // False: it cannot be written.
    [[nodiscard]] bool draw(const std::string& text) const;
    // Waits for a key; nothing came until then.
    [[nodiscard]] std::optional<char> key(std::chrono::steady_clock::time_point until);

  private:
    bool keys_ = false;  // standard input is a terminal
};

}  // namespace acma::ctl
