// SPDX-License-Identifier: Apache-2.0
// The guests of the bench `controller`: agents behind real unix sockets, as QEMU offers a guest's
// channel, and, where asked for, a process for each that stands in for its QEMU.
//
//   acma-agents DIRECTORY COUNT RAM_BYTES [--processes]
//
// Agent I listens on DIRECTORY/I.sock. Every question that comes is a line on DIRECTORY/asked:
// "CLOCK_MONOTONIC in us, I, s" for a status, "..., p, max_mem_bytes" for a policy. On stdin, a
// line each: "behave I honest|silent|flooding|calling|...", answered by "done"; "sent I" by "done
// BYTES", all that agent I has sent; "flush" by "done" when all that was noted is written. It ends
// with its stdin.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "platform/clock.h"
#include "tests/fakes/fake_agent_asio.h"

namespace acma::bench {
namespace {

using fakes::Manners;
namespace asio = host::asio;

// What a guest needs goes up and down, each at another time, so that memory has to move.
constexpr Bytes k_least_used = 24_MiB;
constexpr Bytes k_swing = 40_MiB;
constexpr Micros k_period = Seconds(240);
constexpr Bytes k_kernel = 12_MiB;
constexpr Bytes k_resident = 1_MiB;  // of a stand-in for QEMU

Bytes used_at(Time now, size_t index) {
    const auto period = static_cast<uint64_t>(k_period.count());
    const auto time = static_cast<uint64_t>(now.time_since_epoch().count());
    const uint64_t phase = (time + index * 7'919'000) % period;
    const uint64_t up = phase < period / 2 ? phase : period - phase;
    return k_least_used + Bytes(k_swing.count() / 1024 * (up * 2048 / period));
}

AgentStatus status_of(Bytes ram) {
    AgentStatus status;
    status.agent_version = "0.1.0";
    status.state = AgentState::settled;
    status.reason = "little is left that is cold: 3 % of the quota is used, psi 0.02 % of 0.10 %";
    status.policy = {.min_mem = 64_MiB, .max_mem = ram};
    status.policy_source = PolicySource::host;
    status.mem_total = ram - k_kernel;
    status.swap_total = 512_MiB;
    status.swap_free = 480_MiB;
    status.quota_per_s = 20_MiB;
    return status;
}

class Guests {
  public:
    Guests(asio::io_context& context, const std::string& directory, size_t count, Bytes ram)
        : asked_(directory + "/asked") {
        for (size_t i = 0; i < count; ++i) {
            agents_.push_back(std::make_unique<fakes::FakeAgent>(
                context, directory + "/" + std::to_string(i) + ".sock", Manners::honest));
            fakes::FakeAgent& agent = *agents_.back();
            agent.status = status_of(ram);
            agent.lie = [this, i, ram](AgentStatus& status) { answer(i, ram, status); };
            agent.on_policy = [this, i](const proto::SetPolicy& policy) {
                note(i) << 'p' << ' ' << policy.policy.max_mem.count() << '\n';
                grants_[i] = policy.grant;
            };
        }
    }

    [[nodiscard]] fakes::FakeAgent& agent(size_t index) { return *agents_.at(index); }
    void flush() { asked_.flush(); }

  private:
    std::ostream& note(size_t index) {
        return asked_ << platform::now().time_since_epoch().count() << ' ' << index << ' ';
    }

    void answer(size_t index, Bytes ram, AgentStatus& status) {
        note(index) << "s\n";
        const auto granted = grants_.find(index);
        const Bytes size = granted == grants_.end() ? ram : granted->second;
        const Bytes used = std::min(used_at(platform::now(), index), size - k_kernel);
        status.mem_free = size - k_kernel - used;
        status.mem_available = status.mem_free + used / 4;
        status.working_set = used / 2;
        status.psi_some_total = Micros(static_cast<int64_t>(status.sequence) * 137);
        status.reclaimed_total = Bytes(status.sequence * 4096);
    }

    std::ofstream asked_;
    std::vector<std::unique_ptr<fakes::FakeAgent>> agents_;
    std::map<size_t, Bytes> grants_;
};

// Reads commands until stdin ends.
class Console {
  public:
    Console(asio::io_context& context, Guests& guests)
        : context_(context), guests_(guests), input_(context, ::dup(STDIN_FILENO)) {
        wait();
    }

  private:
    void wait() {
        input_.async_wait(asio::posix::stream_descriptor::wait_read,
                          [this](boost::system::error_code error) {
                              std::string line;
                              if (error || !std::getline(std::cin, line)) {
                                  return context_.stop();
                              }
                              obey(line);
                              wait();
                          });
    }

    void obey(const std::string& line) {
        static const std::map<std::string, Manners> k_manners{
            {"honest", Manners::honest},       {"silent", Manners::silent},
            {"flooding", Manners::flooding},   {"garbage", Manners::garbage},
            {"dribbling", Manners::dribbling}, {"muttering", Manners::muttering},
            {"calling", Manners::calling}};
        std::istringstream words(line);
        std::string verb;
        std::string manners;
        size_t index = 0;
        words >> verb >> index >> manners;
        std::cout << "done";
        if (verb == "behave") {
            guests_.agent(index).behave(k_manners.at(manners));
        } else if (verb == "sent") {
            std::cout << ' ' << guests_.agent(index).bytes_sent();
        }
        guests_.flush();
        std::cout << std::endl;
    }

    asio::io_context& context_;
    Guests& guests_;
    asio::posix::stream_descriptor input_;
};

// "-uuid UUID RAM_BYTES": what the controller's sampler finds in /proc of a QEMU.
int stand_in(const char* ram) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const size_t size = std::strtoull(ram, nullptr, 10);
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return 1;
    }
    std::fill_n(static_cast<char*>(memory), k_resident.count(), 'x');
    return ::pause();
}

void start_stand_ins(size_t count, const std::string& ram) {
    for (size_t i = 0; i < count; ++i) {
        const std::string number = std::to_string(i);
        const std::string uuid =
            "00000000-0000-4000-8000-" + std::string(12 - number.size(), '0') + number;
        if (::fork() == 0) {
            ::execl("/proc/self/exe", "qemu-stand-in", "-uuid", uuid.c_str(), ram.c_str(), nullptr);
            ::_exit(1);
        }
    }
}

int run(const std::vector<std::string>& arguments) {
    const size_t count = std::stoul(arguments.at(2));
    const Bytes ram(std::stoull(arguments.at(3)));
    if (arguments.size() > 4) {
        start_stand_ins(count, arguments.at(3));
    }
    asio::io_context context(1);
    Guests guests(context, arguments.at(1), count, ram);
    const Console console(context, guests);
    std::cout << "ready" << std::endl;
    context.run();
    return 0;
}

}  // namespace
}  // namespace acma::bench

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv, argv + argc);
    if (argc == 4 && arguments[1] == "-uuid") {
        return acma::bench::stand_in(argv[3]);
    }
    ::signal(SIGPIPE, SIG_IGN);
    try {
        return acma::bench::run(arguments);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "acma-agents DIRECTORY COUNT RAM_BYTES [--processes]: %s\n",
                     error.what());
        return 2;
    }
}
