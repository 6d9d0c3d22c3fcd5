// SPDX-License-Identifier: Apache-2.0
// The libvirt folder against libvirt's own test driver, which needs no daemon and no VM. It keeps
// its state in the process for each connection, so "virsh" here is a second handle on it.
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libvirt/libvirt-qemu.h>

#include "host-controller/libvirt/command_pool.h"
#include "host-controller/libvirt/libvirt_hypervisor.h"
#include "host-controller/libvirt/memory_limit.h"
#include "host-controller/metadata/policy_xml.h"
#include "tests/unit/temp_dir.h"

namespace {
// So many of the next calls fail, as when libvirt is busy or broken.
std::atomic<int> lookups_to_fail{0};
std::atomic<int> descriptions_to_fail{0};
// While 1, calls to the monitor of a domain named "hangs..." do not come back.
std::atomic<int> qemu_hangs{0};

std::atomic<int> opens_to_fail{0};
std::atomic<int> connections_opened{0};
std::mutex opens_tried_mutex;
std::vector<std::chrono::steady_clock::time_point> opens_tried;
std::atomic<int> keepalives_set{0};
std::atomic<int> connections_broken{0};  // so many of the next are found broken

// What a guest's stock agent was asked, and how it answers; empty: not at all.
std::mutex guest_agent_mutex;
std::vector<std::string> guest_agent_asked;
std::function<std::string(const std::string&)> guest_agent_answers;

std::vector<std::string> device_updates;  // by a worker, while the test waits for it

bool takes_one(std::atomic<int>& left) {
    return left > 0 && left-- > 0;
}
template <typename Function>
Function* libvirts_own(const char* name) {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}
}  // namespace

// These stand before libvirt's own for all that is linked into this test.
virConnectPtr virConnectOpen(const char* uri) {
    ++connections_opened;
    {
        const std::lock_guard lock(opens_tried_mutex);
        opens_tried.push_back(std::chrono::steady_clock::now());
    }
    return libvirts_own<decltype(virConnectOpen)>("virConnectOpen")(
        takes_one(opens_to_fail) ? "test:///no/such/file" : uri);
}
int virConnectSetKeepAlive(virConnectPtr connection, int interval, unsigned int count) {
    ++keepalives_set;
    return libvirts_own<decltype(virConnectSetKeepAlive)>("virConnectSetKeepAlive")(
        connection, interval, count);
}
int virConnectIsAlive(virConnectPtr connection) {
    return takes_one(connections_broken)
               ? 0
               : libvirts_own<decltype(virConnectIsAlive)>("virConnectIsAlive")(connection);
}
virDomainPtr virDomainLookupByUUIDString(virConnectPtr connection, const char* uuid) {
    auto* own = libvirts_own<decltype(virDomainLookupByUUIDString)>("virDomainLookupByUUIDString");
    return own(connection, takes_one(lookups_to_fail) ? "no uuid" : uuid);
}
char* virDomainGetXMLDesc(virDomainPtr domain, unsigned int flags) {
    auto* own = libvirts_own<decltype(virDomainGetXMLDesc)>("virDomainGetXMLDesc");
    return own(takes_one(descriptions_to_fail) ? nullptr : domain, flags);
}
char* virDomainQemuAgentCommand(virDomainPtr, const char* command, int, unsigned int) {
    const std::lock_guard lock(guest_agent_mutex);
    guest_agent_asked.emplace_back(command);
    const std::string answer = guest_agent_answers(command);
    return answer.empty() ? nullptr : ::strdup(answer.c_str());
}
// libvirt's test driver updates no devices.
int virDomainUpdateDeviceFlags(virDomainPtr, const char* xml, unsigned int flags) {
    EXPECT_EQ(flags, static_cast<unsigned>(VIR_DOMAIN_AFFECT_LIVE));
    device_updates.emplace_back(xml);
    return 0;
}
int virDomainSetMemoryFlags(virDomainPtr domain, unsigned long memory, unsigned int flags) {
    if (std::string_view(virDomainGetName(domain)).starts_with("hangs")) {
        qemu_hangs.wait(1);
    }
    return libvirts_own<decltype(virDomainSetMemoryFlags)>("virDomainSetMemoryFlags")(
        domain, memory, flags);
}

namespace acma::host {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::seconds k_deadline{20};
const VmId k_vm{"6695eb01-f6a4-8304-79aa-97f2502e193f"};  // "test" of test:///default

// What the hypervisor posts, for a test to wait for.
class Inbox {
  public:
    void put(HypervisorEvent event) {
        const std::lock_guard lock(mutex_);
        events_.push_back(std::move(event));
        came_.notify_all();
    }
    // The first event that fits; earlier ones are dropped.
    std::optional<HypervisorEvent> wait_for_event(
        const std::function<bool(const HypervisorEvent&)>& fits) {
        std::unique_lock lock(mutex_);
        const auto end = std::chrono::steady_clock::now() + k_deadline;
        while (true) {
            while (!events_.empty()) {
                HypervisorEvent event = std::move(events_.front());
                events_.pop_front();
                if (fits(event)) {
                    return event;
                }
            }
            if (came_.wait_until(lock, end) == std::cv_status::timeout) {
                return std::nullopt;
            }
        }
    }
    template <typename Kind>
    std::optional<Kind> wait_for(const std::function<bool(const Kind&)>& fits) {
        const auto event = wait_for_event([&fits](const HypervisorEvent& candidate) {
            const auto* kind = std::get_if<Kind>(&candidate);
            return kind != nullptr && fits(*kind);
        });
        return event ? std::optional(std::get<Kind>(*event)) : std::nullopt;
    }
    template <typename Kind>
    std::optional<Kind> wait_for() {
        return wait_for<Kind>([](const Kind&) { return true; });
    }

  private:
    std::mutex mutex_;  // protects events_
    std::condition_variable came_;
    std::deque<HypervisorEvent> events_;
};

class LibvirtTest : public ::testing::Test {
  protected:
    LibvirtHypervisor& open(const std::string& uri = "test:///default") {
        return hypervisor.emplace(
            LibvirtHypervisor::Options{uri, {"org.acma.agent.0"}},
            [this](HypervisorEvent event) { inbox.put(std::move(event)); },
            [](const std::function<void()>& work) { work(); });
    }
    // A host of its own: `domains` as XML. Goes with the test.
    LibvirtHypervisor& open_host_of(const std::string& domains) {
        directory_.emplace();
        return open("test://" + directory_->write("host.xml", "<node>" + domains + "</node>"));
    }
    // Runs a command and waits for its outcome.
    template <typename Command>
    Status outcome_of(Command command) {
        std::promise<Status> promise;
        command([&promise](const Status& status) { promise.set_value(status); });
        auto future = promise.get_future();
        EXPECT_EQ(future.wait_for(k_deadline), std::future_status::ready);
        return future.get();
    }
    Inbox inbox;
    std::optional<LibvirtHypervisor> hypervisor;

  private:
    std::optional<acma::testing::TempDir> directory_;
};

TEST_F(LibvirtTest, ListsRunningDomainsWhenItConnects) {
    open();
    const auto up = inbox.wait_for<HypervisorUp>();
    ASSERT_TRUE(up);
    ASSERT_EQ(up->running.size(), 1U);
    EXPECT_EQ(up->running[0].name, "test");
    EXPECT_EQ(up->running[0].vm, k_vm);
    EXPECT_EQ(up->running[0].ram, 8_GiB);
    EXPECT_EQ(up->running[0].current, 2_GiB);
    EXPECT_TRUE(up->running[0].persistent);
    ASSERT_TRUE(up->running[0].policy);
    EXPECT_FALSE(*up->running[0].policy);
}

TEST_F(LibvirtTest, WritesAPolicyAndHearsThatItWasWritten) {
    LibvirtHypervisor& libvirt = open();
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    const Policy policy{512_MiB, 3_GiB, 20_bp, 77, Mode::observe};
    const Status written = outcome_of([&](Done done) { libvirt.set_policy(k_vm, policy, done); });
    ASSERT_TRUE(written) << written.error().message;
    const auto seen = inbox.wait_for<DomainSeen>();
    ASSERT_TRUE(seen);
    EXPECT_TRUE(seen->policy_written);
    ASSERT_TRUE(seen->facts.policy && *seen->facts.policy);
    EXPECT_EQ(**seen->facts.policy, policy);
}

TEST_F(LibvirtTest, NotesItsTargetWithoutTakingThatForAPolicy) {
    LibvirtHypervisor& libvirt = open();
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    ASSERT_TRUE(outcome_of([&](Done done) { libvirt.write_note(k_vm, {1_GiB, true}, done); }));
    ASSERT_TRUE(outcome_of([&](Done done) { libvirt.set_policy(k_vm, {512_MiB, 3_GiB}, done); }));
    const auto seen = inbox.wait_for<DomainSeen>();
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->facts.note, (StateNote{1_GiB, true}));
    EXPECT_TRUE(seen->policy_written) << "the note itself made no event";
}

// A stock agent with two files, which are opened as handle 1000 and 1001.
class GuestAgentTest : public LibvirtTest {
  protected:
    Result<GuestAgentReading> read(const std::string& fails = "none") {
        guest_agent_asked.clear();
        open_files_ = 0;
        guest_agent_answers = [this, fails](const std::string& command) -> std::string {
            if (command.find(fails) != std::string::npos) {
                return "";
            }
            if (command.find("guest-file-open") != std::string::npos) {
                ++open_files_;
                return command.find("pressure") != std::string::npos ? R"({"return": 1000})"
                                                                     : R"({"return": 1001})";
            }
            if (command.find("guest-file-close") != std::string::npos) {
                --open_files_;
                return R"({"return": {}})";
            }
            // "some avg10=0.00 avg60=0.00 avg300=0.00 total=42", and a short meminfo.
            return command.find("1000") != std::string::npos
                       ? R"({"return": {"buf-b64": "c29tZSBhdmcxMD0wLjAwIGF2ZzYwPTAuMDAgYXZnMzAwPTAuMDAgdG90YWw9NDIK"}})"
                       : R"({"return": {"buf-b64": "TWVtVG90YWw6IDQwOTYga0IKTWVtRnJlZTogMTAyNCBrQgpNZW1BdmFpbGFibGU6IDIwNDgga0IKU3dhcFRvdGFsOiAwIGtCClN3YXBGcmVlOiAwIGtCCg=="}})";
        };
        std::promise<Result<GuestAgentReading>> promise;
        hypervisor->read_guest_agent(k_vm, [&promise](const Result<GuestAgentReading>& reading) {
            promise.set_value(reading);
        });
        auto future = promise.get_future();
        EXPECT_EQ(future.wait_for(k_deadline), std::future_status::ready);
        return future.get();
    }
    int open_files_ = 0;
};

TEST_F(GuestAgentTest, ReadsPressureAndMemoryAndClosesBothFiles) {
    open("test:///default");
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    const auto reading = read();
    ASSERT_TRUE(reading) << reading.error().message;
    EXPECT_EQ(reading->psi_some_total, Micros(42));
    EXPECT_EQ(reading->unused, 1_MiB);
    EXPECT_EQ(reading->usable, 2_MiB);
    EXPECT_EQ(guest_agent_asked.size(), 6U);
    EXPECT_EQ(open_files_, 0);
    for (const std::string& command : guest_agent_asked) {
        EXPECT_THAT(command, HasSubstr("guest-file-"));
    }
}

TEST_F(GuestAgentTest, ClosesAFileThatCannotBeRead) {
    open("test:///default");
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    EXPECT_FALSE(read("guest-file-read"));
    EXPECT_EQ(guest_agent_asked.size(), 3U) << "and asks for nothing more";
    EXPECT_EQ(open_files_, 0);
    EXPECT_FALSE(read("guest-file-open"));
    EXPECT_EQ(guest_agent_asked.size(), 1U);
    EXPECT_FALSE(read("guest-file-close"));
}

TEST_F(LibvirtTest, ReadsStatisticsAndSetsTheirPeriodOnlyIfAsked) {
    LibvirtHypervisor& libvirt = open();
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    for (const bool set_period : {false, true}) {
        std::promise<Result<MemoryStatistics>> promise;
        libvirt.read_statistics(k_vm, {set_period}, [&promise](const auto& statistics) {
            promise.set_value(statistics);
        });
        const Result<MemoryStatistics> read = promise.get_future().get();
        ASSERT_TRUE(read) << read.error().message;
        EXPECT_TRUE(read->told.unused);
        EXPECT_TRUE(read->told.usable);
        EXPECT_EQ(read->updated_s, 627319920U) << "the test driver's guest tells nothing anew";
    }
}

TEST_F(LibvirtTest, SetsTheBalloonAndSeesIt) {
    LibvirtHypervisor& libvirt = open();
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    const Status set = outcome_of([&](Done done) { libvirt.set_balloon(k_vm, 1_GiB, done); });
    ASSERT_TRUE(set) << set.error().message;
    EXPECT_TRUE(inbox.wait_for<BalloonSeen>(
        [](const BalloonSeen& seen) { return seen.vm == k_vm && seen.actual == 1_GiB; }));
}

TEST_F(LibvirtTest, SetsALimitAndNotesItBeforeButLeavesAForeignOneAlone) {
    LibvirtHypervisor& libvirt = open();
    const auto up = inbox.wait_for<HypervisorUp>();
    ASSERT_TRUE(up);
    EXPECT_EQ(up->running[0].soft_limit, std::nullopt);
    const auto set = [&libvirt](const LimitChange& change) {
        std::promise<Result<std::optional<Bytes>>> promise;
        libvirt.set_limit(k_vm, change,
                          [&promise](const auto& in_force) { promise.set_value(in_force); });
        const auto in_force = promise.get_future().get();
        EXPECT_TRUE(in_force);
        return in_force ? *in_force : std::optional(Bytes(0));
    };
    const auto seen = [&] {  // a new policy makes an event, so that the XML is read
        EXPECT_TRUE(outcome_of([&](Done done) {
            libvirt.set_policy(k_vm, {512_MiB, 3_GiB}, done);
        }));
        return inbox.wait_for<DomainSeen>()->facts;
    };
    EXPECT_EQ(set({.or_none = true, .limit = 1_GiB, .note = {.limits = {1_GiB}}}), 1_GiB);
    DomainFacts facts = seen();
    EXPECT_EQ(facts.soft_limit, 1_GiB);
    EXPECT_EQ(facts.note.limits, std::vector{1_GiB});
    EXPECT_EQ(set({.ours = {2_GiB}, .limit = 3_GiB, .note = {.limits = {3_GiB}}}), 1_GiB);
    EXPECT_EQ(seen().note.limits, std::vector{1_GiB}) << "not ours: nothing is written";
    EXPECT_EQ(set({.ours = {1_GiB}}), std::nullopt);
    EXPECT_EQ(seen().soft_limit, std::nullopt);
    EXPECT_EQ(set({.ours = {1_GiB}, .limit = 1_GiB}), std::nullopt) << "lifted by somebody else";
    EXPECT_EQ(set({.or_none = true, .limit = Bytes::max()}), Bytes::max());
    EXPECT_EQ(seen().soft_limit, std::nullopt) << "more than there can be is none";
}

TEST_F(LibvirtTest, RequestsASizeOfAVirtioMemDeviceUnlessSomebodyElseHas) {
    LibvirtHypervisor& libvirt = open_host_of(R"(<domain type='test'>
        <name>test</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
        <maxMemory slots='2' unit='MiB'>4096</maxMemory><memory unit='MiB'>1024</memory>
        <os><type>hvm</type></os>
        <cpu><numa><cell id='0' cpus='0' memory='512' unit='MiB'/></numa></cpu>
        <devices><memory model='virtio-mem'><target><size unit='MiB'>512</size><node>0</node>
          <block unit='MiB'>2</block><requested unit='MiB'>256</requested></target>
          <alias name='ua-m'/></memory></devices></domain>)");
    const auto up = inbox.wait_for<HypervisorUp>();
    ASSERT_TRUE(up && up->running.size() == 1U);
    ASSERT_EQ(up->running[0].memory_devices.size(), 1U);
    EXPECT_EQ(up->running[0].memory_devices[0].requested, 256_MiB);
    EXPECT_EQ(up->running[0].ram, 512_MiB);
    const auto request = [&libvirt](const plugging::Order& order) {
        std::promise<Result<Bytes>> promise;
        libvirt.set_requested(k_vm, {.order = order, .note = {}, .word = {}, .reason = {}},
                              [&promise](const auto& in_force) { promise.set_value(in_force); });
        return promise.get_future().get();
    };
    device_updates.clear();
    EXPECT_EQ(request({"ua-m", 128_MiB, {512_MiB}}).value(), 256_MiB) << "somebody else's";
    EXPECT_EQ(request({"ua-m", 256_MiB, {512_MiB}}).value(), 256_MiB) << "there already";
    EXPECT_TRUE(device_updates.empty());
    EXPECT_EQ(request({"ua-m", 128_MiB, {512_MiB, 256_MiB}}).value(), 128_MiB);
    ASSERT_EQ(device_updates.size(), 1U);
    EXPECT_THAT(device_updates[0], HasSubstr("<requested unit=\"KiB\">131072</requested>"));
    EXPECT_THAT(device_updates[0], HasSubstr("<alias name=\"ua-m\""));
    EXPECT_EQ(request({"gone", 128_MiB, {256_MiB}}).error().code, ErrorCode::not_found);
}

TEST(MemoryLimit, TakesCgroupV2) {
    const acma::testing::TempDir directory;
    const auto holds = [&directory](const char* text) {
        return memory_limit_holds(directory.write("cgroup", text));
    };
    EXPECT_TRUE(holds("0::/machine.slice/machine-qemu.scope\n"));
    EXPECT_TRUE(holds("5:cpu,cpuacct:/\n1:name=systemd:memory:/\n0::/\n"));
    for (const char* v1 : {"9:memory:/\n0::/\n", "0::/\n3:cpu,memory:/x\n", "3:memory,hugetlb:/"}) {
        const Status status = holds(v1);
        ASSERT_FALSE(status) << v1;
        EXPECT_EQ(status.error().code, ErrorCode::unsupported);
        EXPECT_THAT(status.error().message, HasSubstr("cgroup v1"));
    }
    EXPECT_FALSE(memory_limit_holds("/nonexistent"));
}

TEST_F(LibvirtTest, SaysWhyACommandFailed) {
    LibvirtHypervisor& libvirt = open();
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    const Status too_much = outcome_of([&](Done done) { libvirt.set_balloon(k_vm, 99_GiB, done); });
    ASSERT_FALSE(too_much);
    EXPECT_THAT(too_much.error().message, HasSubstr("setting the balloon: "));
    const Status nobody = outcome_of([&](Done done) {
        libvirt.set_balloon(VmId{"00000000-0000-0000-0000-000000000001"}, 1_GiB, done);
    });
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().code, ErrorCode::not_found);
}

TEST_F(LibvirtTest, KeepsTryingWhenThereIsNoLibvirt) {
    LibvirtHypervisor& libvirt = open("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    const auto down = inbox.wait_for<HypervisorDown>();
    ASSERT_TRUE(down);
    EXPECT_THAT(down->why, HasSubstr("connecting to qemu+unix"));
    EXPECT_TRUE(inbox.wait_for<HypervisorDown>()) << "again";
    const Status refused = outcome_of([&](Done done) { libvirt.set_balloon(k_vm, 1_GiB, done); });
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("not connected"));
}

TEST_F(LibvirtTest, LetsLibvirtRestLongerEachTimeThatItIsNotThere) {
    opens_tried.clear();
    open("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(inbox.wait_for<HypervisorDown>());
    }
    hypervisor.reset();
    ASSERT_GE(opens_tried.size(), 4U);
    for (const size_t i : {0U, 1U, 2U}) {
        EXPECT_GE(opens_tried[i + 1] - opens_tried[i], std::chrono::milliseconds(500) * (1U << i));
    }
}

TEST_F(LibvirtTest, AsksAgainWhenLibvirtFailsInsteadOfTakingTheDomainForGone) {
    open();
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    const ConnectionHandle virsh(virConnectOpen("test:///default"));
    const DomainHandle domain(virDomainLookupByUUIDString(virsh.get(), k_vm.uuid.c_str()));
    for (std::atomic<int>* failing : {&lookups_to_fail, &descriptions_to_fail}) {
        *failing = 2;
        ASSERT_EQ(
            virDomainSetMetadata(domain.get(), VIR_DOMAIN_METADATA_ELEMENT,
                                 write_policy_xml({512_MiB, 3_GiB}).c_str(), k_policy_prefix,
                                 std::string(k_policy_namespace).c_str(), VIR_DOMAIN_AFFECT_LIVE),
            0);
        int told = 0;
        const auto verdict = inbox.wait_for_event([&told](const HypervisorEvent& event) {
            told += std::holds_alternative<DomainUnread>(event) ? 1 : 0;
            return std::holds_alternative<DomainSeen>(event) ||
                   std::holds_alternative<DomainGone>(event);
        });
        EXPECT_EQ(told, 1) << "at the first failure";
        ASSERT_TRUE(verdict);
        ASSERT_TRUE(std::holds_alternative<DomainSeen>(*verdict));
        EXPECT_TRUE(std::get<DomainSeen>(*verdict).policy_written) << "not forgotten meanwhile";
        EXPECT_EQ(*failing, 0);
    }
}

TEST_F(LibvirtTest, TellsADomainThatItCouldNotReadWhenItConnected) {
    descriptions_to_fail = 1;
    open();
    const auto up = inbox.wait_for<HypervisorUp>();
    ASSERT_TRUE(up);
    EXPECT_TRUE(up->running.empty());
    EXPECT_THAT(up->unread, ::testing::ElementsAre(k_vm));
    const auto seen = inbox.wait_for<DomainSeen>();
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->facts.vm, k_vm);
}

TEST_F(LibvirtTest, TellsThatADomainWasStopped) {
    open();
    ASSERT_TRUE(inbox.wait_for<HypervisorUp>());
    const ConnectionHandle virsh(virConnectOpen("test:///default"));
    const DomainHandle domain(virDomainLookupByUUIDString(virsh.get(), k_vm.uuid.c_str()));
    ASSERT_EQ(virDomainDestroy(domain.get()), 0);
    const auto gone = inbox.wait_for<DomainGone>();
    ASSERT_TRUE(gone);
    EXPECT_EQ(gone->vm, k_vm);
}

// A domain as it may be found: policy and note in its metadata.
TEST_F(LibvirtTest, TellsThatADomainIsPausedAndWhenOneWasStarted) {
    open();
    const auto up = inbox.wait_for<HypervisorUp>();
    ASSERT_TRUE(up);
    EXPECT_FALSE(up->running[0].paused);
    EXPECT_FALSE(up->running[0].booted_at) << "it ran before";
    const ConnectionHandle virsh(virConnectOpen("test:///default"));
    const DomainHandle domain(virDomainLookupByUUIDString(virsh.get(), k_vm.uuid.c_str()));
    ASSERT_EQ(virDomainSuspend(domain.get()), 0);
    EXPECT_TRUE(
        inbox.wait_for<DomainSeen>([](const DomainSeen& seen) { return seen.facts.paused; }));
    ASSERT_EQ(virDomainResume(domain.get()), 0);
    EXPECT_TRUE(
        inbox.wait_for<DomainSeen>([](const DomainSeen& seen) { return !seen.facts.paused; }));
    ASSERT_EQ(virDomainDestroy(domain.get()), 0);
    ASSERT_TRUE(inbox.wait_for<DomainGone>());
    ASSERT_EQ(virDomainCreate(domain.get()), 0);
    const auto started = inbox.wait_for<DomainSeen>();
    ASSERT_TRUE(started);
    EXPECT_TRUE(started->facts.booted_at);
}

TEST_F(LibvirtTest, ReadsPolicyAndNoteOfADomainThatItFinds) {
    open_host_of(R"(<domain type='test'><name>web</name>
        <uuid>11111111-2222-3333-4444-555555555555</uuid>
        <metadata><p:policy xmlns:p="urn:acma:policy:1" min-mem="1GiB" max-mem="2GiB"/>
        <s:state xmlns:s="urn:acma:state:1" target="2GiB"/></metadata>
        <memory unit='GiB'>4</memory><currentMemory unit='GiB'>3</currentMemory>
        <os><type>hvm</type></os></domain>)");
    const auto up = inbox.wait_for<HypervisorUp>();
    ASSERT_TRUE(up);
    ASSERT_EQ(up->running.size(), 1U);
    const DomainFacts& facts = up->running[0];
    ASSERT_TRUE(facts.policy && *facts.policy);
    EXPECT_EQ((**facts.policy).max_mem, 2_GiB);
    EXPECT_EQ(facts.note.target, 2_GiB);
    EXPECT_EQ(facts.start_target, 3_GiB);
}

// Domains of which all but the last hang, each in a call.
class HangingLibvirtTest : public LibvirtTest {
  protected:
    static constexpr int k_hanging = CommandPool::k_regular;
    const VmId fine = vm(k_hanging);

    HangingLibvirtTest() {
        std::string domains;
        for (int i = 0; i <= k_hanging; ++i) {
            domains += "<domain type='test'><name>" +
                       std::string(vm(i) == fine ? "fine" : "hangs") + std::to_string(i) +
                       "</name><uuid>" + vm(i).uuid +
                       "</uuid><memory unit='GiB'>4</memory><os><type>hvm</type></os></domain>";
        }
        open_host_of(domains);
        EXPECT_TRUE(inbox.wait_for<HypervisorUp>());
        connections_opened = 0;
        keepalives_set = 0;
        qemu_hangs = 1;
        for (int i = 0; i < k_hanging; ++i) {
            hypervisor->set_balloon(vm(i), 1_GiB, [this](const Status&) { --hanging; });
        }
    }
    ~HangingLibvirtTest() override {
        EXPECT_EQ(hanging, k_hanging);
        qemu_hangs = 0;
        qemu_hangs.notify_all();
        hypervisor.reset();
        EXPECT_EQ(hanging, 0);
    }
    static VmId vm(int i) {
        return VmId{"11111111-2222-3333-4444-00000000000" + std::to_string(i)};
    }
    Status set_balloon_of_the_fine_one() {
        return outcome_of([this](Done done) { hypervisor->set_balloon(fine, 1_GiB, done); });
    }
    std::atomic<int> hanging{k_hanging};
};

TEST_F(HangingLibvirtTest, ServesAFifthDomainOnOneConnectionMoreWhileFourHang) {
    for (int i = 0; i < 3; ++i) {
        const Status set = set_balloon_of_the_fine_one();
        EXPECT_TRUE(set) << set.error().message;
    }
    EXPECT_EQ(connections_opened, 1) << "not one a command";
    EXPECT_EQ(keepalives_set, 1);
    connections_broken = 1;
    EXPECT_TRUE(set_balloon_of_the_fine_one());
    EXPECT_EQ(connections_opened, 2) << "it broke";
}

TEST_F(HangingLibvirtTest, TellsWhichCallsRunAndNotWhichWait) {
    for (int i = 0; i < k_hanging; ++i) {
        const auto begun = inbox.wait_for<CallSeen>();
        ASSERT_TRUE(begun);
        EXPECT_TRUE(begun->runs);
        EXPECT_NE(begun->vm, fine);
    }
    hypervisor->write_note(vm(0), {}, [](const Status&) {});  // waits: one call a domain
    EXPECT_TRUE(set_balloon_of_the_fine_one());
    for (const bool runs : {true, false}) {
        const auto call = inbox.wait_for<CallSeen>();
        ASSERT_TRUE(call);
        EXPECT_EQ(call->vm, fine);
        EXPECT_EQ(call->runs, runs);
    }
}

TEST_F(HangingLibvirtTest, SaysWhyItCouldNotOpenOneConnectionMore) {
    opens_to_fail = 1;
    const Status refused = set_balloon_of_the_fine_one();
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("opening one more connection to test:///"));
    EXPECT_THAT(refused.error().message, HasSubstr("/no/such/file"));
    EXPECT_TRUE(set_balloon_of_the_fine_one()) << "it is tried again";
}

// --- the pool -------------------------------------------------------------------------------

TEST(CommandPool, KeepsTheOrderOfOneDomain) {
    std::vector<int> order;
    std::promise<void> last;
    CommandPool pool;
    constexpr int k_last = CommandPool::k_max_waiting_of_one - 1;
    for (int i = 0; i <= k_last; ++i) {
        ASSERT_TRUE(pool.post(VmId{"a"}, [&order, &last, i](CommandPool::Worker&) {
            order.push_back(i);
            if (i == k_last) {
                last.set_value();
            }
        }));
    }
    last.get_future().wait();
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(CommandPool, RunsTheOthersWhileOneDomainHangs) {
    std::promise<void> release;
    std::promise<void> other_done;
    auto held = release.get_future().share();
    CommandPool pool;
    for (int i = 0; i < CommandPool::k_max_waiting_of_one; ++i) {
        ASSERT_TRUE(pool.post(VmId{"hangs"}, [held](CommandPool::Worker&) { held.wait(); }));
    }
    ASSERT_TRUE(
        pool.post(VmId{"fine"}, [&other_done](CommandPool::Worker&) { other_done.set_value(); }));
    EXPECT_EQ(other_done.get_future().wait_for(k_deadline), std::future_status::ready);
    release.set_value();
}

// So many domains hang, until it ends.
class HangingDomains {
  public:
    HangingDomains(CommandPool& pool, int count) {
        for (int i = 0; i < count; ++i) {
            EXPECT_TRUE(pool.post(VmId{"hangs" + std::to_string(i)},
                                  [begun = begun_, held = held_](CommandPool::Worker&) {
                                      ++*begun;
                                      held.wait();
                                  }));
        }
    }
    ~HangingDomains() { release_.set_value(); }
    HangingDomains(const HangingDomains&) = delete;
    HangingDomains& operator=(const HangingDomains&) = delete;

    void wait_for(int count) const {
        const auto end = std::chrono::steady_clock::now() + k_deadline;
        while (*begun_ < count && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        EXPECT_GE(*begun_, count);
    }

  private:
    std::promise<void> release_;
    std::shared_future<void> held_ = release_.get_future().share();
    // Commands that begin only when the pool ends outlive this.
    std::shared_ptr<std::atomic<int>> begun_ = std::make_shared<std::atomic<int>>(0);
};

constexpr Time at(double seconds) {
    return Time(Micros(static_cast<int64_t>(seconds * 1e6)));
}

// Runs a command of a domain that is well; tells whether a hired worker did.
std::future<bool> served_by_a_hired_one(CommandPool& pool) {
    auto served = std::make_shared<std::promise<bool>>();
    EXPECT_TRUE(pool.post(
        VmId{"fine"}, [served](CommandPool::Worker& worker) { served->set_value(worker.hired); }));
    return served->get_future();
}

bool is_there(const std::future<bool>& served, std::chrono::seconds within = k_deadline) {
    return served.wait_for(within) == std::future_status::ready;
}

TEST(CommandPool, ServesASixthDomainWhileFiveHang) {
    CommandPool pool;
    const HangingDomains hanging(pool, 5);
    auto served = served_by_a_hired_one(pool);
    hanging.wait_for(4);
    pool.relieve(at(0));
    pool.relieve(at(1));
    pool.relieve(at(1.9));
    EXPECT_EQ(pool.workers(), 4U) << "libvirt may just be busy";
    pool.relieve(at(2));
    EXPECT_EQ(pool.workers(), 5U);
    hanging.wait_for(5);
    pool.relieve(at(3));
    pool.relieve(at(4.9));
    EXPECT_EQ(pool.workers(), 5U) << "the new one had only just begun";
    EXPECT_FALSE(is_there(served, std::chrono::seconds(0)));
    pool.relieve(at(5));
    ASSERT_TRUE(is_there(served));
    EXPECT_TRUE(served.get()) << "it needs a connection of its own";
}

TEST(CommandPool, HiresNobodyWhereOneDomainHangs) {
    CommandPool pool;
    const HangingDomains hanging(pool, 1);
    hanging.wait_for(1);
    ASSERT_TRUE(pool.post(VmId{"hangs0"}, [](CommandPool::Worker&) {}));
    for (int second = 0; second < 100; ++second) {
        pool.relieve(at(second));
    }
    EXPECT_FALSE(served_by_a_hired_one(pool).get());
    EXPECT_EQ(pool.workers(), CommandPool::k_regular);
}

TEST(CommandPool, LetsAHiredWorkerGoWhenItHasRestedForAMinute) {
    CommandPool pool;
    const HangingDomains hanging(pool, 4);
    hanging.wait_for(4);
    auto served = served_by_a_hired_one(pool);
    pool.relieve(at(0));
    pool.relieve(at(2));
    ASSERT_TRUE(is_there(served));
    const auto relieve_until = [&pool](Time time, size_t workers) {
        const auto end = std::chrono::steady_clock::now() + k_deadline;
        do {
            pool.relieve(time);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        } while (pool.workers() != workers && std::chrono::steady_clock::now() < end);
        EXPECT_EQ(pool.workers(), workers);
    };
    relieve_until(at(3), 5);
    auto once_more = served_by_a_hired_one(pool);
    ASSERT_TRUE(is_there(once_more)) << "it is still there, and need not be hired";
    for (int second = 40; second <= 99; ++second) {
        relieve_until(at(second), 5);
    }
    relieve_until(at(102), 4);
    auto later = served_by_a_hired_one(pool);
    pool.relieve(at(103));
    EXPECT_FALSE(is_there(later, std::chrono::seconds(0)));
    pool.relieve(at(105));
    EXPECT_TRUE(is_there(later)) << "another is hired when it is needed";
}

TEST(CommandPool, LeavesLibvirtSomeWorkersForOthersHoweverManyHang) {
    constexpr int k_most = CommandPool::k_most;
    CommandPool pool;
    const HangingDomains hanging(pool, 2 * k_most);
    int second = 0;
    for (int begun = CommandPool::k_regular; begun <= k_most; ++begun) {
        hanging.wait_for(begun);
        pool.relieve(at(++second));
        pool.relieve(at(second += 2));
    }
    for (int i = 0; i < 100; ++i) {
        pool.relieve(at(++second));
    }
    EXPECT_EQ(pool.workers(), CommandPool::k_most);
}

TEST(CommandPool, RefusesWorkWithoutEnd) {
    std::promise<void> release;
    auto held = release.get_future().share();
    CommandPool pool;
    size_t taken = 0;
    while (taken < 2 * CommandPool::k_max_waiting &&
           pool.post(VmId{"hangs" + std::to_string(taken)},
                     [held](CommandPool::Worker&) { held.wait(); })) {
        ++taken;
    }
    EXPECT_GE(taken, CommandPool::k_max_waiting);
    EXPECT_LE(taken, CommandPool::k_max_waiting + CommandPool::k_regular);
    release.set_value();
}

TEST(CommandPool, LetsNoDomainFillTheQueueOfTheOthers) {
    std::promise<void> release;
    auto held = release.get_future().share();
    CommandPool pool;
    int taken = 0;
    while (taken < 100 && pool.post(VmId{"hangs"}, [held](CommandPool::Worker&) { held.wait(); })) {
        ++taken;
    }
    EXPECT_GE(taken, CommandPool::k_max_waiting_of_one);
    EXPECT_LE(taken, CommandPool::k_max_waiting_of_one + 1) << "and the one that runs";
    EXPECT_TRUE(pool.post(VmId{"fine"}, [](CommandPool::Worker&) {}));
    release.set_value();
}

}  // namespace
}  // namespace acma::host
