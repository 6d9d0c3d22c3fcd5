// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/terminal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace acma::ctl {

namespace {
// The other screen, without a cursor; and back.
constexpr std::string_view k_enter = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view k_leave = "\x1b[?25h\x1b[?1049l";
constexpr std::array<int, 5> k_ends{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};

// A handler of signals can reach nothing else. Written before any handler is there.
termios g_before{};
termios g_raw{};
bool g_keys = false;

bool put(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
        if (written < 0 && errno != EINTR) {
            return false;
        }
        text.remove_prefix(static_cast<size_t>(std::max<ssize_t>(written, 0)));
    }
    return true;
}

// Both are made of calls that a signal handler may make (signal-safety(7)).
void enter() {
    if (g_keys) {
        (void)::tcsetattr(STDIN_FILENO, TCSADRAIN, &g_raw);
    }
    (void)put(k_enter);
}
void leave() {
    (void)put(k_leave);
    if (g_keys) {
        (void)::tcsetattr(STDIN_FILENO, TCSADRAIN, &g_before);
    }
}

// Ends as if nobody had caught it.
void on_end(int signal) {
    leave();
    (void)std::signal(signal, SIG_DFL);
    (void)::raise(signal);
}

void on_stop(int) {
    const int before = errno;
    leave();
    (void)::raise(SIGSTOP);
    enter();  // somebody let it go on
    errno = before;
}

void on_resize(int) {}  // only ends a wait
}  // namespace

Terminal::Terminal() : keys_(::tcgetattr(STDIN_FILENO, &g_before) == 0) {
    g_raw = g_before;
    g_raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    g_keys = keys_;
    struct sigaction action {};
    ::sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    action.sa_handler = on_end;
    for (const int signal : k_ends) {
        (void)::sigaction(signal, &action, nullptr);
    }
    action.sa_handler = on_stop;
    (void)::sigaction(SIGTSTP, &action, nullptr);
    action.sa_flags = 0;
    action.sa_handler = on_resize;
    (void)::sigaction(SIGWINCH, &action, nullptr);
    enter();
}

Terminal::~Terminal() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP, SIGWINCH}) {
        (void)std::signal(signal, SIG_DFL);
    }
    leave();
}

Screen Terminal::size() const {
    winsize found{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &found) != 0 || found.ws_row == 0 || found.ws_col == 0) {
        return {.lines = 24, .columns = 79};
    }
    // The last column is left free: terminals differ in where they are after it.
    return {.lines = found.ws_row, .columns = std::max<size_t>(found.ws_col, 2) - 1};
}

// Each line is cleared behind its text, and what is below: no flicker as after clearing all.
bool Terminal::draw(const std::string& text) const {
    std::string out = "\x1b[H";
    for (const char c : text) {
        out += c == '\n' ? std::string("\x1b[K\n") : std::string(1, c);
    }
    return put(out + "\x1b[K\x1b[J");
}

std::optional<char> Terminal::key(std::chrono::steady_clock::time_point until) {
    const auto rest =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd input{.fd = keys_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0};
    if (::poll(&input, 1, static_cast<int>(std::max<int64_t>(rest.count(), 0))) <= 0) {
        return std::nullopt;  // also when the window's size has changed
    }
    char key = 0;
    const ssize_t got = ::read(STDIN_FILENO, &key, 1);
    keys_ = got > 0;
    return got > 0 ? std::optional(key) : std::nullopt;
}

}  // namespace acma::ctl
