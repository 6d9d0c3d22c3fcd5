// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <sys/types.h>

#include "engine/base/result.h"
#include "platform/fd.h"

namespace acma::agent {

// The agent's end of acma-deadman: see deadman_main.cpp. While armed, alive() has to be called at
// least every k_heartbeat.
class Deadman {
  public:
    // `program`: the acma-deadman binary; `state_file`: the kdamond's.
    Deadman(std::string program, std::string state_file)
        : program_(std::move(program)), state_file_(std::move(state_file)) {}
    ~Deadman();
    Deadman(const Deadman&) = delete;
    Deadman& operator=(const Deadman&) = delete;

    // Starts it, or starts it again when it died. Without it nothing may be paged out.
    [[nodiscard]] Status ensure_running();
    void alive();
    void disarm();

  private:
    void send(char word);

    std::string program_;
    std::string state_file_;
    pid_t pid_ = -1;
    platform::Fd pipe_;
};

constexpr int k_heartbeat_ms = 400;

}  // namespace acma::agent
