// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/deadman.h"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

namespace acma::agent {

Status Deadman::ensure_running() {
    if (pid_ > 0) {
        if (::waitpid(pid_, nullptr, WNOHANG) == 0) {
            return {};
        }
        pid_ = -1;
        pipe_.reset();
    }
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return error_from_errno(errno, "make a pipe for acma-deadman");
    }
    platform::Fd read_end(ends[0]);
    platform::Fd write_end(ends[1]);
    // A full pipe means that the dead-man is stopped; then we rather look dead than hang.
    (void)::fcntl(write_end.get(), F_SETFL, O_NONBLOCK);

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    (void)::posix_spawn_file_actions_init(&actions);
    (void)::posix_spawn_file_actions_adddup2(&actions, read_end.get(), STDIN_FILENO);
    (void)::posix_spawnattr_init(&attributes);
    sigset_t none;
    (void)::sigemptyset(&none);
    (void)::posix_spawnattr_setsigmask(&attributes, &none);
    (void)::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    std::array<char*, 3> argv{program_.data(), state_file_.data(), nullptr};
    const int err =
        ::posix_spawn(&pid_, program_.c_str(), &actions, &attributes, argv.data(), environ);
    (void)::posix_spawnattr_destroy(&attributes);
    (void)::posix_spawn_file_actions_destroy(&actions);
    if (err != 0) {
        pid_ = -1;
        return error_from_errno(err, "start " + program_);
    }
    pipe_ = std::move(write_end);
    return {};
}

void Deadman::send(char word) {
    if (pipe_) {
        (void)!::write(pipe_.get(), &word, 1);
    }
}

void Deadman::alive() {
    send('a');
}

void Deadman::disarm() {
    send('d');
}

Deadman::~Deadman() {
    pipe_.reset();  // it sees the end of the pipe and leaves
    if (pid_ > 0) {
        (void)::waitpid(pid_, nullptr, 0);
    }
}

}  // namespace acma::agent
