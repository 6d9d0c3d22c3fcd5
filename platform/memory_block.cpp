// SPDX-License-Identifier: Apache-2.0
#include "platform/memory_block.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/fd.h"
#include "platform/file.h"

namespace acma::platform {

namespace {

constexpr int k_stays_online = 1;
constexpr int k_stays_offline = 2;
constexpr int k_tries = 50;
constexpr useconds_t k_between_tries_us = 100'000;

std::string state_file(const std::string& dir, uint64_t number) {
    return dir + "/memory" + std::to_string(number) + "/state";
}

bool put(int fd, const char* word) {
    return pwrite(fd, word, std::strlen(word), 0) == static_cast<ssize_t>(std::strlen(word));
}

// In the child of a process with threads: nothing here may allocate or lock.
enum class Then { online, stays };
[[noreturn]] void go_offline(int fd, Millis patience, Then then) {
    sigset_t all_but_alarm;
    sigfillset(&all_but_alarm);
    sigdelset(&all_but_alarm, SIGALRM);
    sigprocmask(SIG_SETMASK, &all_but_alarm, nullptr);
    // Going offline goes on for ever where a page does not move; a signal ends it.
    struct sigaction on_alarm {};
    on_alarm.sa_handler = [](int) {};
    sigaction(SIGALRM, &on_alarm, nullptr);
    itimerval timer{};
    timer.it_value.tv_sec = patience / Seconds(1);
    timer.it_value.tv_usec = (patience % Seconds(1)).count() * 1'000;
    setitimer(ITIMER_REAL, &timer, nullptr);
    if (!put(fd, "offline")) {
        _exit(k_stays_online);
    }
    if (then == Then::stays) {
        _exit(0);
    }
    for (int i = 0; i < k_tries; ++i) {
        if (put(fd, "online")) {
            _exit(0);
        }
        usleep(k_between_tries_us);
    }
    _exit(k_stays_offline);
}

Status in_child(const std::string& dir, uint64_t number, Millis patience, Then then) {
    const std::string path = state_file(dir, number);
    const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) {
        return error_from_errno(errno, "open " + path);
    }
    const pid_t child = fork();
    if (child < 0) {
        return error_from_errno(errno, "fork");
    }
    if (child == 0) {
        go_offline(fd.get(), patience, then);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return error_from_errno(errno, "waitpid");
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return {};
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == k_stays_online) {
        return Error{ErrorCode::busy, path + ": the memory block did not go offline"};
    }
    return Error{ErrorCode::io, path + ": the memory block did not come online again"};
}

}  // namespace

Status recycle_memory_block(const std::string& dir, uint64_t number, Millis patience) {
    return in_child(dir, number, patience, Then::online);
}

Status take_offline(const std::string& dir, uint64_t number, Millis patience) {
    return in_child(dir, number, patience, Then::stays);
}

Result<Bytes> memory_block_size(const std::string& dir) {
    const auto text = read_file(dir + "/block_size_bytes");
    if (!text) {
        return text.error();
    }
    return Bytes(std::strtoull(text->c_str(), nullptr, 16));
}

Status bring_online(const std::string& dir, uint64_t number) {
    const std::string file = state_file(dir, number);
    const Status status = write_file(file, "online");
    if (!status) {
        const auto state = read_file(file);
        return state && state->starts_with("online") ? Status() : status;
    }
    return status;
}

}  // namespace acma::platform
