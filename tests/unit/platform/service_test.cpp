// SPDX-License-Identifier: Apache-2.0
#include "platform/service.h"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "platform/fd.h"
#include "tests/unit/temp_dir.h"

namespace acma::platform {
namespace {

using acma::testing::TempDir;

// What systemd listens on; a name that begins with '@' is abstract.
class NotifySocket {
  public:
    explicit NotifySocket(const std::string& name)
        : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        name.copy(address.sun_path, sizeof(address.sun_path) - 1);
        if (name.starts_with('@')) {
            address.sun_path[0] = '\0';
        }
        const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
        EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
    }
    // The next message; what was sent before is there at once.
    [[nodiscard]] std::optional<std::string> next() const {
        std::array<char, 256> buffer{};
        const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
        return got < 0 ? std::nullopt
                       : std::optional(std::string(buffer.data(), static_cast<size_t>(got)));
    }

  private:
    Fd fd_;
};

class ServiceTest : public ::testing::Test {
  protected:
    ServiceTest() { clear(); }
    ~ServiceTest() override { clear(); }
    ServiceTest(const ServiceTest&) = delete;
    ServiceTest& operator=(const ServiceTest&) = delete;

    static void set(const char* variable, const std::string& value) {
        (void)::setenv(variable, value.c_str(), 1);
    }

    TempDir dir_;

  private:
    static void clear() {
        for (const char* variable : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
            (void)::unsetenv(variable);
        }
    }
};

TEST_F(ServiceTest, TellsSystemdOnASocketInTheFileSystem) {
    const NotifySocket socket(dir_.path("notify"));
    set("NOTIFY_SOCKET", dir_.path("notify"));
    notify_service("READY=1\nSTATUS=watching");
    notify_service("WATCHDOG=1");
    EXPECT_EQ(socket.next(), "READY=1\nSTATUS=watching");
    EXPECT_EQ(socket.next(), "WATCHDOG=1");
    EXPECT_EQ(socket.next(), std::nullopt);
}

TEST_F(ServiceTest, TellsSystemdOnAnAbstractSocket) {
    const std::string name = "@acma-test-" + std::to_string(::getpid());
    const NotifySocket socket(name);
    set("NOTIFY_SOCKET", name);
    notify_service("READY=1");
    EXPECT_EQ(socket.next(), "READY=1");
}

TEST_F(ServiceTest, TellsNobodyWhereSystemdDoesNotListen) {
    const NotifySocket socket(dir_.path("notify"));
    notify_service("READY=1");
    for (const std::string name : {"", "@", "/nonexistent/notify"}) {
        set("NOTIFY_SOCKET", name);
        notify_service("READY=1");
    }
    set("NOTIFY_SOCKET", "/" + std::string(200, 'x'));  // longer than an address
    notify_service("READY=1");
    EXPECT_EQ(socket.next(), std::nullopt);
}

TEST_F(ServiceTest, AnswersTheWatchdogTwiceInItsTime) {
    EXPECT_EQ(watchdog_interval(), std::nullopt) << "no watchdog";
    set("WATCHDOG_USEC", "30000000");
    EXPECT_EQ(watchdog_interval(), Micros(Seconds(15)));
    set("WATCHDOG_PID", std::to_string(::getpid()));
    EXPECT_EQ(watchdog_interval(), Micros(Seconds(15)));
    set("WATCHDOG_USEC", "1");
    EXPECT_EQ(watchdog_interval(), Micros(Millis(100))) << "the agent has more to do";
}

TEST_F(ServiceTest, LeavesAWatchdogOfAnotherProcessAlone) {
    set("WATCHDOG_USEC", "30000000");
    for (const auto& pid : {std::to_string(::getppid()), std::string("me"), std::string()}) {
        set("WATCHDOG_PID", pid);
        EXPECT_EQ(watchdog_interval(), std::nullopt) << pid;
    }
}

TEST_F(ServiceTest, TakesNoTimeThatIsNotANumber) {
    for (const char* text : {"", "0", "-1", "soon", "30s", "1e6", "99999999999999999999"}) {
        set("WATCHDOG_USEC", text);
        EXPECT_EQ(watchdog_interval(), std::nullopt) << text;
    }
}

}  // namespace
}  // namespace acma::platform
