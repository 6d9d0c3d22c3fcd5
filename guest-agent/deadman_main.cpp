// SPDX-License-Identifier: Apache-2.0
// acma-deadman: a kdamond survives the agent that switched it on. This small process switches it
// off when the agent dies (its pipe closes) or hangs (no byte for too long while armed).
//
//   acma-deadman STATE_FILE...      bytes on standard input: 'a' alive and armed, 'd' disarmed
//   acma-deadman --off STATE_FILE.. switches off once and exits (for ExecStopPost=)
//
// A process of its own, in a session of its own and under a name of its own, so that whatever kills
// the agent by name, pid or process group does not take it along. It allocates nothing. The
// kernel's own dead-man (max_nr_snapshots, since 7.0) cannot do this: a pass over the regions only
// counts when it gets to the last one before the quota is used up (damon_do_apply_schemes), so it
// bounds no time while page-out is at its quota.

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int k_silence_ms = 1200;  // + an apply step (50 ms) stays well under the promised 2 s
constexpr int k_tries = 1000;       // EBUSY: another DAMON command holds the kernel's lock
constexpr timespec k_between_tries{.tv_sec = 0, .tv_nsec = 1'000'000};
// Between rounds of so many tries. There is no last one: nobody else would switch it off.
constexpr int k_between_rounds_ms = 100;

bool may_pass(int err) {
    return err == EBUSY || err == EINTR || err == EAGAIN || err == ENOMEM || err == ENFILE;
}

// False: not even with the last try. ENOENT, EINVAL and EPERM mean that there is nothing to switch
// off.
bool switch_off(const char* state_file) {
    for (int i = 0; i < k_tries; ++i) {
        const int fd = ::open(state_file, O_WRONLY | O_CLOEXEC);
        const ssize_t written = fd < 0 ? -1 : ::write(fd, "off", 3);
        const int err = errno;
        if (fd >= 0) {
            (void)::close(fd);
        }
        if (written == 3 || !may_pass(err)) {
            return true;
        }
        (void)::nanosleep(&k_between_tries, nullptr);
    }
    return false;
}

bool switch_all_off(char** files) {
    bool done = true;
    for (; *files != nullptr; ++files) {
        done = switch_off(*files) && done;
    }
    return done;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc >= 2 && std::strcmp(argv[1], "--off") == 0) {
        while (!switch_all_off(argv + 2)) {
        }
        return 0;
    }
    if (argc < 2 || argv[1][0] == '-') {
        constexpr char k_usage[] =
            "usage: acma-deadman [--off] STATE_FILE...\n"
            "Started by acma-agent: switches kdamonds off when the agent dies or hangs.\n";
        const bool asked = argc == 2 && std::strcmp(argv[1], "--help") == 0;
        (void)!::write(asked ? STDOUT_FILENO : STDERR_FILENO, k_usage, sizeof(k_usage) - 1);
        return asked ? 0 : 2;
    }
    // A stop of the service must not end the dead-man before the agent is gone.
    (void)std::signal(SIGTERM, SIG_IGN);
    (void)std::signal(SIGINT, SIG_IGN);
    (void)std::signal(SIGHUP, SIG_IGN);

    (void)::mlockall(MCL_CURRENT | MCL_FUTURE);  // it has to work when memory does not

    bool armed = false;
    bool again = false;  // silent, and still to be switched off
    for (;;) {
        pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
        const int most_ms = again ? k_between_rounds_ms : k_silence_ms;
        const int ready = ::poll(&input, 1, armed ? most_ms : -1);
        if (ready < 0) {
            continue;  // EINTR
        }
        if (ready == 0) {
            again = !switch_all_off(argv + 1);
            armed = again;  // else not until the agent is heard again
            continue;
        }
        again = false;
        char bytes[64];
        const ssize_t got = ::read(STDIN_FILENO, bytes, sizeof(bytes));
        if (got <= 0) {
            while (armed && !switch_all_off(argv + 1)) {
            }
            return 0;
        }
        armed = bytes[got - 1] == 'a';
    }
}
