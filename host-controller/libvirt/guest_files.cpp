// SPDX-License-Identifier: Apache-2.0
#include "host-controller/libvirt/guest_files.h"

#include <libvirt/libvirt-qemu.h>

#include "host-controller/libvirt/handles.h"
#include "platform/proc.h"
#include "proto/guest_file.h"

namespace acma::host {

namespace {
constexpr int k_timeout_s = 5;
// The longer of the two, /proc/meminfo, has 1.5 KiB.
constexpr size_t k_most = 8192;

Result<std::string> ask(virDomainPtr domain, const std::string& request) {
    const LibvirtText reply(virDomainQemuAgentCommand(domain, request.c_str(), k_timeout_s, 0));
    return reply ? Result<std::string>(std::string(reply.get()))
                 : Result<std::string>(last_libvirt_error("asking the guest agent"));
}

Result<std::string> read_file(virDomainPtr domain, std::string_view path) {
    const Result<std::string> open = ask(domain, proto::open_file_request(path));
    if (!open) {
        return open.error();
    }
    const Result<int64_t> handle = proto::opened_file(*open);
    if (!handle) {
        return handle.error();
    }
    const Result<std::string> read = ask(domain, proto::read_file_request(*handle, k_most));
    const Result<std::string> closed = ask(domain, proto::close_file_request(*handle));
    if (!read || !closed) {
        return read ? closed.error() : read.error();
    }
    return proto::read_from_file(*read, k_most);
}
}  // namespace

Result<GuestAgentReading> read_guest_agent(virDomainPtr domain) {
    const Result<std::string> pressure = read_file(domain, "/proc/pressure/memory");
    if (!pressure) {
        return pressure.error();
    }
    const Result<Micros> psi = platform::parse_psi_some_total(*pressure);
    if (!psi) {
        return psi.error();
    }
    const Result<std::string> text = read_file(domain, "/proc/meminfo");
    if (!text) {
        return text.error();
    }
    const Result<platform::MemInfo> memory = platform::parse_meminfo(*text);
    if (!memory) {
        return memory.error();
    }
    return GuestAgentReading{*psi, memory->free, memory->available};
}

}  // namespace acma::host
