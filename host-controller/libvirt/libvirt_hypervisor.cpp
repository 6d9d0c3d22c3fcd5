// SPDX-License-Identifier: Apache-2.0
#include "host-controller/libvirt/libvirt_hypervisor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include <libvirt/virterror.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "host-controller/libvirt/domain_statistics.h"
#include "host-controller/libvirt/guest_files.h"
#include "host-controller/libvirt/memory_limit.h"
#include "host-controller/metadata/policy_xml.h"
#include "platform/clock.h"

namespace acma::host {

namespace {
constexpr Millis k_first_retry{500};
constexpr Millis k_longest_retry{30'000};
// libvirt's own default is 5 s x 5; a daemon that hangs is noticed after 15 s.
constexpr int k_keepalive_interval_s = 5;
constexpr unsigned k_keepalive_count = 3;
// Balloon events tell every change; the poll only heals a lost one. A driver without these events
// (test) is polled instead; what we set there is told with it.
constexpr Micros k_heal_every{30'000'000};
constexpr Micros k_poll_every{5'000'000};
constexpr int k_tick_ms = 500;

VmId id_of(virDomainPtr domain) {
    std::array<char, VIR_UUID_STRING_BUFLEN> uuid{};
    virDomainGetUUIDString(domain, uuid.data());
    return VmId{uuid.data()};
}

// libvirt's event loop can be registered once in a process.
void register_event_loop() {
    static std::once_flag once;
    std::call_once(once, [] { virEventRegisterDefaultImpl(); });
}

std::shared_ptr<virConnect> open_connection(const std::string& uri) {
    ConnectionHandle connection(virConnectOpen(uri.c_str()));
    if (connection) {
        // Fails on drivers without a daemon in between, where there is nothing to watch.
        virConnectSetKeepAlive(connection.get(), k_keepalive_interval_s, k_keepalive_count);
    }
    return connection;
}

unsigned live_and_config(virDomainPtr domain) {
    const bool persistent = virDomainIsPersistent(domain) == 1;
    return static_cast<unsigned>(VIR_DOMAIN_AFFECT_LIVE) |
           (persistent ? static_cast<unsigned>(VIR_DOMAIN_AFFECT_CONFIG) : 0U);
}

Status set_element(virDomainPtr domain, const std::string& xml, const char* prefix,
                   std::string_view uri, unsigned flags) {
    const int failed = virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, xml.c_str(),
                                            prefix, std::string(uri).c_str(), flags);
    return failed != 0 ? Status(last_libvirt_error("writing metadata")) : Status();
}

Status set_note(virDomainPtr domain, const StateNote& note) {
    return set_element(domain, write_state_xml(note), k_state_prefix, k_state_namespace,
                       VIR_DOMAIN_AFFECT_LIVE);
}

template <typename Callback>
virConnectDomainEventGenericCallback generic(Callback callback) {
    // libvirt registers every kind of callback through one type and calls it back by its own. The
    // way over void (*)() says to the compiler that the cast is meant.
    return reinterpret_cast<virConnectDomainEventGenericCallback>(
        reinterpret_cast<void (*)()>(callback));
}
}  // namespace

LibvirtHypervisor::LibvirtHypervisor(Options options, Sink sink, Post post)
    : options_(std::move(options)),
      sink_(std::move(sink)),
      post_(std::move(post)),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    silence_libvirt();
    register_event_loop();
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

LibvirtHypervisor::~LibvirtHypervisor() {
    thread_.request_stop();
    const uint64_t one = 1;
    // A full counter would wake the thread as well; there is nothing else to do about a failure.
    [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
    thread_.join();
    ::close(wake_fd_);
}

// --- the event thread -----------------------------------------------------------------------

void LibvirtHypervisor::run(const std::stop_token& stop) {
    const int watch =
        virEventAddHandle(wake_fd_, VIR_EVENT_HANDLE_READABLE, on_wake, this, nullptr);
    // A tick keeps the loop turning, for reconnects and polls.
    const int timer = virEventAddTimeout(k_tick_ms, on_tick, this, nullptr);
    while (!stop.stop_requested()) {
        const bool connected = connection_.load() != nullptr;
        if (!connected && platform::now() >= next_try_) {
            connect();
        } else if (connected && !closed_.empty()) {
            disconnect(closed_);
        }
        virEventRunDefaultImpl();
        pool_.relieve(platform::now());
        if (connection_.load() != nullptr && closed_.empty()) {
            read_pending();
            poll_balloons();
            poll_migrations();
        }
    }
    disconnect("");
    virEventRemoveTimeout(timer);
    virEventRemoveHandle(watch);
    // The loop frees what was removed on its next turns (libvirt: virevent.c).
    const int last = virEventAddTimeout(0, on_tick, this, nullptr);
    virEventRunDefaultImpl();
    virEventRemoveTimeout(last);  // or a loop that goes on would spin
}

void LibvirtHypervisor::connect() {
    std::shared_ptr<virConnect> connection = open_connection(options_.uri);
    if (!connection) {
        retry_in_ = std::clamp(retry_in_ * 2, k_first_retry, k_longest_retry);
        next_try_ = platform::now() + retry_in_;
        sink_(HypervisorDown{last_libvirt_error("connecting to " + options_.uri).message});
        return;
    }
    virConnectPtr raw = connection.get();
    connection_.store(std::move(connection));
    closed_.clear();
    retry_in_ = Millis(0);
    balloon_events_ = !is_test_driver(raw);
    // Fails where there is no daemon in between, either.
    virConnectRegisterCloseCallback(raw, on_close, this, nullptr);
    register_events();
    list_domains();
}

void LibvirtHypervisor::disconnect(const std::string& why) {
    const std::shared_ptr<virConnect> connection = connection_.exchange(nullptr);
    if (!connection) {
        return;
    }
    for (const int id : callback_ids_) {
        virConnectDomainEventDeregisterAny(connection.get(), id);
    }
    callback_ids_.clear();
    virConnectUnregisterCloseCallback(connection.get(), on_close);
    pending_.clear();
    known_.clear();
    closed_.clear();
    next_try_ = platform::now() + k_first_retry;
    if (!why.empty()) {
        sink_(HypervisorDown{why});
    }
}

void LibvirtHypervisor::register_events() {
    const std::array<std::pair<int, virConnectDomainEventGenericCallback>, 9> wanted{{
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, generic(&on_lifecycle)},
        {VIR_DOMAIN_EVENT_ID_REBOOT, generic(&on_reboot)},
        {VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, generic(&on_metadata)},
        {VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, generic(&on_balloon)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, generic(&on_device)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, generic(&on_device)},
        {VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, generic(&on_memory_device)},
        {VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, generic(&on_agent)},
        {VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, generic(&on_migration)},
    }};
    const std::shared_ptr<virConnect> connection = connection_.load();
    for (const auto& [event, callback] : wanted) {
        const int id = virConnectDomainEventRegisterAny(connection.get(), nullptr, event, callback,
                                                        this, nullptr);
        if (id >= 0) {  // an older daemon does not know the newer events
            callback_ids_.push_back(id);
        }
    }
}

// Events are registered before this, so that nothing falls between.
void LibvirtHypervisor::list_domains() {
    const std::shared_ptr<virConnect> connection = connection_.load();
    virDomainPtr* domains = nullptr;
    const int count =
        virConnectListAllDomains(connection.get(), &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (count < 0) {
        closed_ = last_libvirt_error("listing domains").message;
        return;
    }
    HypervisorUp up;
    for (int i = 0; i < count; ++i) {
        const DomainHandle domain(domains[i]);
        if (Result<DomainFacts> facts = facts_of(domain.get())) {
            up.running.push_back(*std::move(facts));
        } else {
            up.unread.push_back(id_of(domain.get()));
            retry(up.unread.back(), {}, facts.error());
        }
    }
    std::free(domains);
    sink_(std::move(up));
}

void LibvirtHypervisor::read_pending() {
    const Time now = platform::now();
    for (const auto& [vm, pending] : std::exchange(pending_, {})) {
        if (now < pending.try_at) {
            pending_.emplace(vm, pending);
            continue;
        }
        const Result<Read> read = read_domain(vm, pending.policy_written);
        if (!read) {  // a busy or broken libvirt stops no VM
            retry(vm, pending, read.error());
        } else if (*read == Read::gone) {
            known_.erase(vm);
            booted_.erase(vm);
            sink_(DomainGone{vm, "it was stopped"});
        }
    }
}

Result<LibvirtHypervisor::Read> LibvirtHypervisor::read_domain(const VmId& vm,
                                                               bool policy_written) {
    const std::shared_ptr<virConnect> connection = connection_.load();
    const DomainHandle domain(virDomainLookupByUUIDString(connection.get(), vm.uuid.c_str()));
    const int active = domain ? virDomainIsActive(domain.get()) : -1;
    if (active == 1) {
        Result<DomainFacts> facts = facts_of(domain.get());
        if (!facts) {
            return facts.error();
        }
        sink_(DomainSeen{*std::move(facts), policy_written});
        return Read::done;
    }
    if (active == 0 || last_error_is_no_domain()) {
        return Read::gone;
    }
    return last_libvirt_error("looking for the domain");
}

void LibvirtHypervisor::retry(const VmId& vm, Pending pending, const Error& why) {
    if (pending.retry_in == Millis(0)) {
        sink_(DomainUnread{vm, why.message});
    }
    pending.retry_in = std::clamp(pending.retry_in * 2, k_first_retry, k_longest_retry);
    pending.try_at = platform::now() + pending.retry_in;
    pending_.emplace(vm, pending);
}

Result<DomainFacts> LibvirtHypervisor::facts_of(virDomainPtr domain) {
    const LibvirtText live(virDomainGetXMLDesc(domain, 0));
    if (!live) {
        return last_libvirt_error("reading domain XML");
    }
    Result<DomainFacts> facts = read_domain_xml(live.get(), options_.channels, options_.foreign);
    if (!facts) {
        return facts.error();
    }
    facts->persistent = virDomainIsPersistent(domain) == 1;
    if (facts->persistent) {
        const LibvirtText inactive(virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE));
        facts->start_target = inactive ? read_start_target(inactive.get()) : std::nullopt;
    }
    int state = 0;
    if (virDomainGetState(domain, &state, nullptr, 0) == 0) {
        facts->paused = state == VIR_DOMAIN_PAUSED || state == VIR_DOMAIN_PMSUSPENDED;
    }
    if (const auto booted = booted_.find(facts->vm); booted != booted_.end()) {
        facts->booted_at = booted->second;
    }
    known_[facts->vm] = Known{plugging::sums_of(facts->memory_devices).current, std::nullopt, {}};
    return facts;
}

// NB: not virConnectGetAllDomainStats(BALLOON): it asks each QEMU's monitor, also with NOWAIT, and
// one that hangs would stop this thread. virDomainGetInfo answers from libvirt's own memory.
void LibvirtHypervisor::poll_balloons() {
    const Time now = platform::now();
    if (now < next_poll_) {
        return;
    }
    next_poll_ = now + (balloon_events_ ? k_heal_every : k_poll_every);
    const std::shared_ptr<virConnect> connection = connection_.load();
    for (auto& [vm, known] : known_) {
        if (!known.handle) {
            known.handle.reset(virDomainLookupByUUIDString(connection.get(), vm.uuid.c_str()));
        }
        virDomainInfo info{};
        if (!known.handle || virDomainGetInfo(known.handle.get(), &info) != 0) {
            continue;
        }
        const Bytes actual = to_bytes(Kibibytes(info.memory)) - known.virtio_mem;
        if (balloon_events_ || known.told != actual) {  // events tell it too: it may be news again
            known.told = actual;
            sink_(BalloonSeen{vm, actual});
        }
    }
}

void LibvirtHypervisor::migrates(virDomainPtr domain) {
    const VmId vm = id_of(domain);
    if (migrating_.insert(vm).second) {
        sink_(MigrationSeen{vm, true});
    }
}

// No event tells that a migration failed or was given up (libvirt: qemu_migration.c emits
// JOB_COMPLETED for those that succeeded), so libvirt is asked, which knows without its QEMU
// (qemuDomainGetControlInfo). What began while the connection was down is seen with its next pass.
void LibvirtHypervisor::poll_migrations() {
    const std::shared_ptr<virConnect> connection = connection_.load();
    std::erase_if(migrating_, [this, &connection](const VmId& vm) {
        const DomainHandle domain(virDomainLookupByUUIDString(connection.get(), vm.uuid.c_str()));
        virDomainControlInfo info{};
        const bool runs = domain && virDomainGetControlInfo(domain.get(), &info, 0) == 0 &&
                          info.state == VIR_DOMAIN_CONTROL_JOB;
        sink_(MigrationSeen{vm, runs});  // again: on its new host it is only found meanwhile
        return !runs;
    });
}

// --- callbacks, on the event thread ---------------------------------------------------------

void LibvirtHypervisor::note(virDomainPtr domain, Pending pending) {
    Pending& known = pending_[id_of(domain)];
    known.policy_written |= pending.policy_written;
    known.try_at = Time();  // something has changed: worth a try now
}

void LibvirtHypervisor::on_lifecycle(virConnectPtr, virDomainPtr domain, int event, int detail,
                                     void* self) {
    auto* hypervisor = static_cast<LibvirtHypervisor*>(self);
    hypervisor->note(domain, {});
    if (event == VIR_DOMAIN_EVENT_STARTED && detail == VIR_DOMAIN_EVENT_STARTED_BOOTED) {
        hypervisor->booted_[id_of(domain)] = platform::now();
    }
    if (event == VIR_DOMAIN_EVENT_RESUMED && detail == VIR_DOMAIN_EVENT_RESUMED_POSTCOPY) {
        hypervisor->migrates(domain);  // it runs here, and its memory still comes
    }
}

void LibvirtHypervisor::on_reboot(virConnectPtr, virDomainPtr domain, void* self) {
    auto* hypervisor = static_cast<LibvirtHypervisor*>(self);
    hypervisor->booted_[id_of(domain)] = platform::now();
    hypervisor->note(domain, {});
}

// QEMU calls a save and a snapshot with memory a migration too.
void LibvirtHypervisor::on_migration(virConnectPtr, virDomainPtr domain, int, void* self) {
    static_cast<LibvirtHypervisor*>(self)->migrates(domain);
}

void LibvirtHypervisor::on_metadata(virConnectPtr, virDomainPtr domain, int type, const char* uri,
                                    void* self) {
    const bool element = type == VIR_DOMAIN_METADATA_ELEMENT && uri != nullptr;
    if (!element || uri == k_state_namespace) {
        return;  // titles, descriptions, and our own note
    }
    static_cast<LibvirtHypervisor*>(self)->note(domain,
                                                {.policy_written = uri == k_policy_namespace});
}

void LibvirtHypervisor::on_balloon(virConnectPtr, virDomainPtr domain,
                                   unsigned long long actual_kib, void* self) {
    static_cast<LibvirtHypervisor*>(self)->sink_(
        BalloonSeen{id_of(domain), to_bytes(Kibibytes(actual_kib))});
}

void LibvirtHypervisor::on_device(virConnectPtr, virDomainPtr domain, const char*, void* self) {
    static_cast<LibvirtHypervisor*>(self)->note(domain, {});
}

void LibvirtHypervisor::on_memory_device(virConnectPtr, virDomainPtr domain, const char*,
                                         unsigned long long, void* self) {
    static_cast<LibvirtHypervisor*>(self)->note(domain, {});
}

void LibvirtHypervisor::on_agent(virConnectPtr, virDomainPtr domain, int, int, void* self) {
    static_cast<LibvirtHypervisor*>(self)->note(domain, {});
}

void LibvirtHypervisor::on_close(virConnectPtr, int reason, void* self) {
    constexpr std::array<const char*, 4> k_reasons{"connection lost", "closed by the daemon",
                                                   "the daemon does not answer", "closed"};
    const auto known = static_cast<size_t>(reason) < k_reasons.size();
    static_cast<LibvirtHypervisor*>(self)->closed_ =
        std::string("libvirt: ") + (known ? k_reasons[static_cast<size_t>(reason)] : "closed");
}

void LibvirtHypervisor::on_wake(int, int fd, int, void*) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(fd, &count, sizeof count);
}

void LibvirtHypervisor::on_tick(int, void*) {}

// --- commands -------------------------------------------------------------------------------

// A hired worker's own is opened when it is first needed, and again when it broke.
Result<std::shared_ptr<virConnect>> LibvirtHypervisor::connection_for(
    CommandPool::Worker& worker) const {
    std::shared_ptr<virConnect> shared = connection_.load();
    if (!shared) {
        return Error{ErrorCode::busy, "libvirt is not connected"};
    }
    if (!worker.hired) {
        return shared;
    }
    if (!worker.connection || virConnectIsAlive(worker.connection.get()) != 1) {
        worker.connection.reset();
        worker.connection = open_connection(options_.uri);
    }
    if (!worker.connection) {
        return last_libvirt_error("opening one more connection to " + options_.uri);
    }
    return worker.connection;
}

void LibvirtHypervisor::post_call(const VmId& vm, Call call, const Done& done) {
    const bool taken =
        pool_.post(vm, [this, vm, call = std::move(call), done](CommandPool::Worker& worker) {
            const auto connection = connection_for(worker);
            Status status;
            if (!connection) {
                status = connection.error();
            } else {
                sink_(CallSeen{vm, true});
                const DomainHandle domain(
                    virDomainLookupByUUIDString(connection->get(), vm.uuid.c_str()));
                status = domain ? call(domain.get()) : Status(last_libvirt_error("domain"));
                sink_(CallSeen{vm, false});
            }
            post_([done, status] { done(status); });
        });
    if (!taken) {
        post_([done] { done(Error{ErrorCode::busy, "too many libvirt calls are waiting"}); });
    }
}

void LibvirtHypervisor::set_balloon(const VmId& vm, Bytes target, Done done) {
    post_call(
        vm,
        [this, vm, target](virDomainPtr domain) -> Status {
            const Kibibytes kib = to_kib_floor(target);
            if (virDomainSetMemoryFlags(domain, kib.count(), VIR_DOMAIN_AFFECT_LIVE) != 0) {
                return last_libvirt_error("setting the balloon");
            }
            if (!balloon_events_) {  // and no guest that takes its time
                sink_(BalloonSeen{vm, to_bytes(kib)});
            }
            return {};
        },
        done);
}

void LibvirtHypervisor::set_limit(const VmId& vm, const LimitChange& change, LimitDone done) {
    const auto in_force = std::make_shared<std::optional<Bytes>>();
    post_call(
        vm,
        [this, change, in_force](virDomainPtr domain) -> Status {
            if (!is_test_driver(virDomainGetConnect(domain))) {
                if (Status holds = memory_limit_holds(options_.cgroups); !holds) {
                    return holds;
                }
            }
            const Result<std::optional<Bytes>> before = memory_limit(domain);
            if (!before) {
                return before.error();
            }
            *in_force = *before;
            if (*before == change.limit || !is_ours(change, *before)) {
                return {};
            }
            if (Status noted = set_note(domain, change.note); !noted) {
                return noted;
            }
            *in_force = change.limit;
            return set_memory_limit(domain, change.limit);
        },
        [in_force, done = std::move(done)](const Status& outcome) {
            done(outcome ? Result<std::optional<Bytes>>(*in_force)
                         : Result<std::optional<Bytes>>(outcome.error()));
        });
}

void LibvirtHypervisor::set_requested(const VmId& vm, const PlugChange& change, PlugDone done) {
    const auto in_force = std::make_shared<Bytes>();
    post_call(
        vm,
        [change, in_force](virDomainPtr domain) -> Status {
            const auto& [alias, requested, ours] = change.order;
            const LibvirtText live(virDomainGetXMLDesc(domain, 0));
            if (!live) {
                return last_libvirt_error("reading domain XML");
            }
            const auto device = memory_device_xml(live.get(), alias, requested);
            if (!device) {
                return device.error();
            }
            *in_force = device->requested;
            if (*in_force == requested || std::count(ours.begin(), ours.end(), *in_force) == 0) {
                return {};
            }
            if (Status noted = set_note(domain, change.note); !noted) {
                return noted;
            }
            *in_force = requested;
            const int failed =
                virDomainUpdateDeviceFlags(domain, device->updated.c_str(), VIR_DOMAIN_AFFECT_LIVE);
            return failed != 0 ? Status(last_libvirt_error("setting the requested size"))
                               : Status();
        },
        [in_force, done = std::move(done)](const Status& outcome) {
            done(outcome ? Result<Bytes>(*in_force) : Result<Bytes>(outcome.error()));
        });
}

void LibvirtHypervisor::set_policy(const VmId& vm, const Policy& policy, Done done) {
    post_call(
        vm,
        [xml = write_policy_xml(policy)](virDomainPtr domain) {
            return set_element(domain, xml, k_policy_prefix, k_policy_namespace,
                               live_and_config(domain));
        },
        done);
}

void LibvirtHypervisor::write_note(const VmId& vm, const StateNote& note, Done done) {
    post_call(
        vm, [note](virDomainPtr domain) { return set_note(domain, note); }, done);
}

void LibvirtHypervisor::read_statistics(const VmId& vm, ReadStatistics order, StatisticsDone done) {
    const auto found = std::make_shared<MemoryStatistics>();
    post_call(
        vm,
        [order, found](virDomainPtr domain) -> Status {
            Result<MemoryStatistics> read = domain_statistics(domain, order);
            if (!read) {
                return read.error();
            }
            *found = *read;
            return {};
        },
        [found, done = std::move(done)](const Status& outcome) {
            done(outcome ? Result<MemoryStatistics>(*found)
                         : Result<MemoryStatistics>(outcome.error()));
        });
}

// Each worker has a connection of its own: libvirtd serves five calls of one client at a time.
void LibvirtHypervisor::read_guest_agent(const VmId& vm, GuestAgentDone done) {
    if (!guest_agents_) {
        guest_agents_ = std::make_unique<CommandPool>();
    }
    const auto answer = std::make_shared<Result<GuestAgentReading>>(
        Error{ErrorCode::busy, "too many guest agents are being asked"});
    const auto tell = [this, answer, done = std::move(done)] {
        post_([answer, done] { done(*answer); });
    };
    const bool taken = guest_agents_->post(vm, [this, vm, answer,
                                                tell](CommandPool::Worker& worker) {
        if (!worker.connection || virConnectIsAlive(worker.connection.get()) != 1) {
            worker.connection.reset();
            worker.connection = open_connection(options_.uri);
        }
        const DomainHandle domain(worker.connection ? virDomainLookupByUUIDString(
                                                          worker.connection.get(), vm.uuid.c_str())
                                                    : nullptr);
        *answer = domain ? acma::host::read_guest_agent(domain.get())
                         : Result<GuestAgentReading>(last_libvirt_error("domain"));
        tell();
    });
    if (!taken) {
        tell();
    }
}

}  // namespace acma::host
