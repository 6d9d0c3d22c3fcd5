// SPDX-License-Identifier: Apache-2.0
// Domains through libvirt. One thread runs libvirt's event loop, discovers domains and reconnects
// with back-off when the daemon goes away; commands run on a pool. Everything is posted to `sink`.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "host-controller/libvirt/command_pool.h"
#include "host-controller/libvirt/handles.h"
#include "host-controller/ports.h"

namespace acma::host {

class LibvirtHypervisor final : public Hypervisor {
  public:
    struct Options {
        std::string uri;
        std::vector<std::string> channels;       // names, in order of preference
        std::vector<MetadataPath> foreign = {};  // what rules look at
        std::string cgroups = "/proc/self/cgroup";
    };
    // Both are called on libvirt's threads; they only hand over (asio::post) and return.
    using Sink = std::function<void(HypervisorEvent)>;
    using Post = std::function<void(std::function<void()>)>;

    LibvirtHypervisor(Options options, Sink sink, Post post);
    ~LibvirtHypervisor() override;
    LibvirtHypervisor(const LibvirtHypervisor&) = delete;
    LibvirtHypervisor& operator=(const LibvirtHypervisor&) = delete;

    void set_balloon(const VmId& vm, Bytes target, Done done) override;
    void set_limit(const VmId& vm, const LimitChange& change, LimitDone done) override;
    void set_requested(const VmId& vm, const PlugChange& change, PlugDone done) override;
    void set_policy(const VmId& vm, const Policy& policy, Done done) override;
    void write_note(const VmId& vm, const StateNote& note, Done done) override;
    void read_statistics(const VmId& vm, ReadStatistics order, StatisticsDone done) override;
    void read_guest_agent(const VmId& vm, GuestAgentDone done) override;

  private:
    // What events said about a domain since it was last read.
    struct Pending {
        bool policy_written = false;
        Time try_at;  // libvirt could not tell, so it is asked again, with growing pauses
        Millis retry_in{0};
    };
    struct Known {
        Bytes virtio_mem;           // libvirt counts it as "current"
        std::optional<Bytes> told;  // of its balloon, by the last poll
        DomainHandle handle;
    };
    enum class Read { done, gone };
    using Call = std::function<Status(virDomainPtr)>;

    void run(const std::stop_token& stop);
    void connect();
    void disconnect(const std::string& why);
    void register_events();
    void list_domains();
    void read_pending();
    Result<Read> read_domain(const VmId& vm, bool policy_written);
    void retry(const VmId& vm, Pending pending, const Error& why);
    Result<DomainFacts> facts_of(virDomainPtr domain);
    void poll_balloons();
    void migrates(virDomainPtr domain);
    void poll_migrations();
    void post_call(const VmId& vm, Call call, const Done& done);
    Result<std::shared_ptr<virConnect>> connection_for(CommandPool::Worker& worker) const;

    // Callbacks from libvirt: they only note, since a callback must not call libvirt at length.
    static void on_lifecycle(virConnectPtr, virDomainPtr domain, int event, int detail, void* self);
    static void on_reboot(virConnectPtr, virDomainPtr domain, void* self);
    static void on_migration(virConnectPtr, virDomainPtr domain, int iteration, void* self);
    static void on_metadata(virConnectPtr, virDomainPtr domain, int type, const char* uri,
                            void* self);
    static void on_balloon(virConnectPtr, virDomainPtr domain, unsigned long long actual_kib,
                           void* self);
    static void on_device(virConnectPtr, virDomainPtr domain, const char* alias, void* self);
    static void on_memory_device(virConnectPtr, virDomainPtr domain, const char* alias,
                                 unsigned long long size_kib, void* self);
    static void on_agent(virConnectPtr, virDomainPtr domain, int state, int reason, void* self);
    static void on_close(virConnectPtr, int reason, void* self);
    static void on_wake(int watch, int fd, int events, void* self);
    static void on_tick(int timer, void* self);
    void note(virDomainPtr domain, Pending pending);

    const Options options_;
    const Sink sink_;
    const Post post_;

    // Only the event thread uses these.
    std::vector<int> callback_ids_;
    std::map<VmId, Pending> pending_;
    std::map<VmId, Known> known_;
    std::set<VmId> migrating_;
    std::map<VmId, Time> booted_;  // when it was seen to start, or to be reset
    std::string closed_;           // why the connection was closed, if it was
    Millis retry_in_{0};
    Time next_poll_;
    Time next_try_;
    std::atomic<bool> balloon_events_ = true;  // the test driver has none

    std::atomic<std::shared_ptr<virConnect>> connection_;  // written by the event thread
    int wake_fd_ = -1;
    CommandPool pool_;
    // A guest that does not answer holds a worker for its time-outs: none of those above. Made when
    // first needed.
    std::unique_ptr<CommandPool> guest_agents_;
    std::jthread thread_;  // last: it uses all of the above
};

}  // namespace acma::host
