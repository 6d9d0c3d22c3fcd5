// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host-controller/hostmem/host_reader.h"
#include "host-controller/hostmem/pace.h"
#include "host-controller/hostmem/qemu_process.h"
#include "host-controller/hostmem/sampler.h"
#include "host-controller/hostmem/smaps.h"
#include "platform/clock.h"

namespace acma::host {
namespace {

using testing::HasSubstr;

// Shape of QEMU 10.0's smaps (captured): fields that are not read stand for the others.
std::string mapping(const std::string& range, const std::string& permissions, uint64_t rss_kib,
                    uint64_t swap_kib = 0, uint64_t huge_kib = 0, const std::string& file = "") {
    return range + " " + permissions + " 00000000 00:00 0 " + file +
           "\nSize:             262144 kB\n" + "Rss:              " + std::to_string(rss_kib) +
           " kB\nPss:  1 kB\nShared_Hugetlb:        0 kB\n" +
           "Private_Hugetlb:       " + std::to_string(huge_kib) +
           " kB\nSwap:          " + std::to_string(swap_kib) +
           " kB\nSwapPss:             7 kB\nVmFlags: rd wr mr mw me ac\n";
}
const std::string k_ram = "7fd303e00000-7fd313e00000";  // 256 MiB
const std::string k_jit = "7fd314000000-7fd324000000";  // 256 MiB
const std::string k_binary = "55d0453a3000-55d04583a000";

TEST(HostBytes, CountsTheRamMappingAloneAndTheRestAsQemusOwn) {
    const auto bytes = host_bytes_of(mapping(k_binary, "r--p", 4572, 0, 0, "/usr/bin/qemu") +
                                         mapping(k_ram, "rw-p", 100'000, 2000) +
                                         mapping("7fd400000000-7fd400021000", "rw-p", 132, 8),
                                     {256_MiB});
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(bytes->resident, 100'000_KiB);
    EXPECT_EQ(bytes->swapped, 2000_KiB);
    EXPECT_EQ(bytes->qemu_own, 4572_KiB + 132_KiB + 8_KiB);
    EXPECT_EQ(bytes->total(), 102'000_KiB);
}

TEST(HostBytes, CountsHugetlbPagesThatAreNotInRss) {
    const auto bytes = host_bytes_of(
        mapping(k_ram, "rw-p", 0, 0, 65'536, "/dev/hugepages/x (deleted)"), {256_MiB});
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->hugetlb, 64_MiB);
    EXPECT_EQ(bytes->total(), 64_MiB);
}

TEST(HostBytes, TakesASharedMemfdMapping) {
    const auto bytes = host_bytes_of(
        mapping(k_ram, "rw-s", 5000, 0, 0, "/memfd:memory-backend-memfd (deleted)"), {256_MiB});
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->resident, 5000_KiB);
}

TEST(HostBytes, DoesNotMistakeTheCodeBufferForRam) {
    const auto bytes =
        host_bytes_of(mapping(k_jit, "rwxp", 9000) + mapping(k_ram, "rw-p", 5), {256_MiB});
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->resident, 5_KiB);
    EXPECT_EQ(bytes->qemu_own, 9000_KiB);
}

TEST(HostBytes, FindsOneMappingForEachBlock) {
    const auto bytes = host_bytes_of(mapping("7f1233c00000-7f123bc00000", "rw-p", 10) +
                                         mapping("7f123be00000-7f1243e00000", "rw-p", 20) +
                                         mapping("7f2000000000-7f2008000000", "rw-p", 40),
                                     {128_MiB, 128_MiB});
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->resident, 30_KiB);
    EXPECT_EQ(bytes->qemu_own, 40_KiB);
}

TEST(HostBytes, JoinsThePiecesOfASplitMapping) {
    const auto bytes = host_bytes_of(mapping("7fd303e00000-7fd30be00000", "rw-p", 10) +
                                         mapping("7fd30be00000-7fd313e00000", "rw-p", 20) +
                                         mapping("7fd313e00000-7fd313e01000", "---p", 0),
                                     {256_MiB});
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(bytes->resident, 30_KiB);
}

TEST(HostBytes, DoesNotJoinPiecesWithAGap) {
    const auto bytes = host_bytes_of(mapping("7fd303e00000-7fd30be00000", "rw-p", 10) +
                                         mapping("7fd30be01000-7fd313e01000", "rw-p", 20),
                                     {256_MiB});
    EXPECT_FALSE(bytes);
}

TEST(HostBytes, SaysWhichBlockItDidNotFind) {
    const auto bytes = host_bytes_of(mapping(k_ram, "rw-p", 5), {512_MiB});
    ASSERT_FALSE(bytes);
    EXPECT_EQ(bytes.error().code, ErrorCode::not_found);
    EXPECT_THAT(bytes.error().message, HasSubstr("512 MiB"));
}

TEST(HostBytes, SurvivesGarbageAndTruncation) {
    const std::string good =
        mapping(k_binary, "r--p", 4572) + mapping(k_ram, "rw-p", 100'000, 2000);
    for (size_t length = 0; length < good.size(); ++length) {
        (void)host_bytes_of(good.substr(0, length), {256_MiB});
    }
    EXPECT_FALSE(host_bytes_of("\xff\x00-zz rw-p\nRss: lots kB\n", {256_MiB}));
    EXPECT_FALSE(host_bytes_of("5-4 rw-p 0\n", {1_MiB}));
}

TEST(ProcessStatus, ReadsTheCheapFigures) {
    const auto memory = parse_process_status(
        "Name:\tqemu\nVmRSS:\t  204800 kB\nRssAnon:\t 1 kB\nVmSwap:\t 1024 kB\nHugetlbPages:\t "
        "2048 kB\n");
    ASSERT_TRUE(memory);
    EXPECT_EQ(*memory, (ProcessMemory{200_MiB, 1_MiB, 2_MiB}));
}

TEST(ProcessStatus, IsNotFoundForAZombie) {
    EXPECT_FALSE(parse_process_status("Name:\tqemu\nState:\tZ (zombie)\n"));
    EXPECT_FALSE(parse_process_status(""));
    EXPECT_FALSE(parse_process_status("VmRSS:\t many kB\n"));
}

constexpr Time at(int64_t seconds) {
    return Time(Seconds(seconds));
}

TEST(Pace, ReadsAMovingGuestOftenAndAStillOneRarely) {
    const PaceLimits limits;
    const PaceState state{at(100), {1_GiB, Bytes(0), Bytes(0)}};
    const ProcessMemory still{1_GiB + 512_KiB, Bytes(0), Bytes(0)};
    const ProcessMemory moved{1_GiB - 2_MiB, Bytes(0), Bytes(0)};
    EXPECT_TRUE(is_due({}, still, at(0), limits));
    EXPECT_FALSE(is_due(state, still, at(101), limits));
    EXPECT_TRUE(is_due(state, still, at(130), limits));
    EXPECT_TRUE(is_due(state, moved, at(101), limits));
    EXPECT_FALSE(is_due(state, moved, at(100), limits));
}

TEST(Pace, NoticesMemoryThatWentToSwapOrHugetlb) {
    const PaceState state{at(100), {1_GiB, Bytes(0), Bytes(0)}};
    EXPECT_TRUE(is_due(state, {1_GiB, 2_MiB, Bytes(0)}, at(101), {}));
    EXPECT_TRUE(is_due(state, {1_GiB, Bytes(0), 2_MiB}, at(101), {}));
}

TEST(Pace, RestsInProportionToTheCostWithinBounds) {
    EXPECT_EQ(rest_until(at(0), Millis(10), {}), Time(Millis(500)));
    EXPECT_EQ(rest_until(at(0), Seconds(3600), {}), at(60));
    EXPECT_EQ(rest_until(at(5), Micros(-1), {}), at(5));
}

class ProcTree : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "acma-proc-XXXXXX";
        dir_ = ::mkdtemp(pattern.data());
        std::filesystem::create_directories(dir_ / "proc/self");
        std::filesystem::create_directories(dir_ / "run");
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }
    void process(const std::string& pid, const std::string& cmdline) const {
        std::filesystem::create_directories(dir_ / "proc" / pid);
        std::ofstream(dir_ / "proc" / pid / "cmdline") << cmdline;
        std::ofstream(dir_ / "proc" / pid / "mine") << pid;
    }
    void pid_file(const std::string& pid) const { std::ofstream(dir_ / "run/web.pid") << pid; }
    [[nodiscard]] std::string found() const {
        const auto process = QemuProcess::find({dir_ / "proc", dir_ / "run"}, "web", k_uuid);
        std::string pid;
        return process && process->read("mine", pid) ? pid : "none";
    }
    static constexpr const char* k_uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    static std::string qemu(const std::string& uuid) {
        return std::string("qemu") + '\0' + "-uuid" + '\0' + uuid + '\0' + "-m" + '\0';
    }
    std::filesystem::path dir_;
};

TEST_F(ProcTree, FindsTheProcessByThePidFile) {
    process("42", qemu(k_uuid));
    pid_file("42\n");
    EXPECT_EQ(found(), "42");
}

TEST_F(ProcTree, DoesNotTrustAPidFileOfAnotherProcess) {
    process("42", std::string("sshd") + '\0');
    process("77", qemu(k_uuid));
    pid_file("42");
    EXPECT_EQ(found(), "77");
}

TEST_F(ProcTree, SearchesWhenThereIsNoPidFile) {
    process("41", qemu("00000000-f6a4-8304-79aa-97f2502e193f"));
    process("77", qemu(k_uuid));
    EXPECT_EQ(found(), "77");
}

TEST_F(ProcTree, DoesNotTakeAUuidElsewhereInTheCommandLine) {
    process("41", std::string("vi") + '\0' + k_uuid + '\0');
    process("42", std::string("qemu") + '\0' + "-uuid" + '\0' + k_uuid + "0" + '\0');
    EXPECT_EQ(found(), "none");
    pid_file("../../etc");
    EXPECT_EQ(found(), "none");
}

// The real /proc, with this very process as "QEMU": a mapping of a known size, of which a known
// part is touched.
TEST(HostMemorySampler, MeasuresAMappingOfAProcessAndNoticesItsGrowth) {
    const size_t block = 96UL * 1024 * 1024;
    void* ram = ::mmap(nullptr, block, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(ram, MAP_FAILED);
    ::madvise(ram, block, MADV_NOHUGEPAGE);
    // A flag of its own keeps the kernel from joining it with a neighbour.
    ::madvise(ram, block, MADV_DONTDUMP);
    std::memset(ram, 1, block / 4);

    // An own "proc" with this process under a name, since its command line is not QEMU's.
    std::string pattern = testing::TempDir() + "acma-sampler-XXXXXX";
    const std::filesystem::path dir = ::mkdtemp(pattern.data());
    const std::string own = "/proc/" + std::to_string(::getpid());
    std::filesystem::create_directories(dir / "1");
    std::filesystem::create_symlink(own + "/status", dir / "1/status");
    std::filesystem::create_symlink(own + "/smaps", dir / "1/smaps");
    std::ofstream(dir / "1/cmdline") << "qemu" << '\0' << "-uuid" << '\0' << "u" << '\0';

    std::promise<Result<HostBytes>> first;
    std::promise<Result<HostBytes>> second;
    int seen = 0;
    {
        HostMemorySampler sampler({dir, dir}, {.at_most_every = Micros(1000), .rest_factor = 1},
                                  [&](const VmId&, const Result<HostBytes>& bytes) {
                                      if (seen == 0) {
                                          first.set_value(bytes);
                                      } else if (seen == 1) {
                                          second.set_value(bytes);
                                      }
                                      ++seen;
                                  });
        sampler.watch(VmId{"u"}, "web", {Bytes(block)});
        const auto measured = first.get_future().get();
        ASSERT_TRUE(measured) << measured.error().message;
        EXPECT_EQ(measured->total(), Bytes(block / 4));
        EXPECT_GT(measured->qemu_own, 1_MiB);

        std::memset(ram, 1, block / 2);
        const auto grown = second.get_future().get();
        ASSERT_TRUE(grown);
        EXPECT_GT(grown->total(), Bytes(block / 4));
    }
    ::munmap(ram, block);
    std::filesystem::remove_all(dir);
}

// A read of a FIFO hangs as one of a process does whose memory lock is held for ever.
TEST(HostMemorySampler, GoesOnWithTheOthersWhileOneProcessHangs) {
    std::string pattern = testing::TempDir() + "acma-hang-XXXXXX";
    const std::filesystem::path dir = ::mkdtemp(pattern.data());
    const std::string own = "/proc/" + std::to_string(::getpid());
    for (const std::string name : {"1", "2"}) {
        std::filesystem::create_directories(dir / name);
        std::filesystem::create_symlink(own + "/status", dir / name / "status");
        std::ofstream(dir / name / "cmdline")
            << "qemu" << '\0' << "-uuid" << '\0' << "u" << name << '\0';
    }
    std::ofstream(dir / "smaps") << mapping(k_ram, "rw-p", 1024);
    std::filesystem::create_symlink(dir / "smaps", dir / "2/smaps");
    ASSERT_EQ(::mkfifo((dir / "1/smaps").c_str(), 0600), 0);

    std::mutex mutex;
    std::map<VmId, std::vector<Result<HostBytes>>> told;
    const auto eventually = [&](const std::function<bool()>& done) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (std::chrono::steady_clock::now() < end) {
            {
                const std::lock_guard lock(mutex);
                if (done()) {
                    return true;
                }
            }
            ::usleep(2000);
        }
        return false;
    };
    const VmId hung{"u1"};
    const VmId other{"u2"};
    {
        HostMemorySampler sampler({dir, dir}, {.at_most_every = Micros(1000), .rest_factor = 1},
                                  [&](const VmId& vm, const Result<HostBytes>& bytes) {
                                      const std::lock_guard lock(mutex);
                                      told[vm].push_back(bytes);
                                  });
        sampler.watch(hung, "hung", {256_MiB});
        int writer = -1;  // there is none until somebody reads
        ASSERT_TRUE(eventually([&] {
            writer = ::open((dir / "1/smaps").c_str(), O_WRONLY | O_NONBLOCK);
            return writer >= 0;
        }));
        sampler.watch(other, "other", {256_MiB});
        sampler.relieve(platform::now());
        EXPECT_TRUE(eventually([&] { return told.empty(); }));
        sampler.relieve(platform::now() + HostMemorySampler::k_patience);
        EXPECT_TRUE(eventually([&] { return told.contains(other); }));
        {
            const std::lock_guard lock(mutex);
            ASSERT_EQ(told[hung].size(), 1U);
            EXPECT_THAT(told[hung][0].error().message, HasSubstr("hangs"));
            ASSERT_TRUE(told[other][0]);
            EXPECT_EQ(told[other][0]->total(), 1_MiB);
        }
        std::filesystem::remove(dir / "1/smaps");
        std::filesystem::create_symlink(dir / "smaps", dir / "1/smaps");
        ::close(writer);
        EXPECT_TRUE(eventually([&] { return told[hung].size() > 1; }));
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(told[hung].back()) << "measured again";
    }
    std::filesystem::remove_all(dir);
}

TEST(HostMemorySampler, SaysOnceThatAProcessIsNotThere) {
    std::promise<Result<HostBytes>> told;
    HostMemorySampler sampler({"/nonexistent", "/nonexistent"}, {},
                              [&](const VmId&, const Result<HostBytes>& bytes) {
                                  told.set_value(bytes);  // a second call would throw
                              });
    sampler.watch(VmId{"u"}, "web", {1_GiB});
    const auto bytes = told.get_future().get();
    ASSERT_FALSE(bytes);
    EXPECT_THAT(bytes.error().message, HasSubstr("no QEMU process of domain web"));
}

TEST(HostReader, ReadsMemoryAndPressureOfTheHost) {
    std::string pattern = testing::TempDir() + "acma-host-XXXXXX";
    const std::filesystem::path dir = ::mkdtemp(pattern.data());
    std::filesystem::create_directory(dir / "pressure");
    std::ofstream(dir / "meminfo") << "MemTotal:  1024 kB\nMemFree: 1 kB\nMemAvailable: 512 kB\n";
    const auto pressure = [&dir](int total) {
        std::ofstream(dir / "pressure/memory")
            << "some avg10=0.00 avg60=0.00 avg300=0.00 total=" << total
            << "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    };
    HostReader reader(dir);
    proto::HostSummary host;
    HostCounters counters;
    std::ofstream(dir / "vmstat") << "pswpin 1\npswpout 2\n";
    pressure(1'000'000);
    reader.read(host, counters, at(0));
    EXPECT_EQ(counters.psi_some_total, Seconds(1));
    EXPECT_EQ(counters.swap_out_total, Bytes(2 * static_cast<uint64_t>(::getpagesize())));
    EXPECT_EQ(host.mem_total, 1_MiB);
    EXPECT_EQ(host.mem_available, 512_KiB);
    EXPECT_EQ(host.psi, 0_bp) << "the first reading knows no rate";
    pressure(1'100'000);
    reader.read(host, counters, at(10));
    EXPECT_EQ(host.psi, 100_bp) << "0.1 s of 10 s";
    std::filesystem::remove_all(dir);
    reader.read(host, counters, at(20));
    EXPECT_EQ(host.psi, 100_bp) << "what cannot be read stays";
}

}  // namespace
}  // namespace acma::host
