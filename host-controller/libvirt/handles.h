// SPDX-License-Identifier: Apache-2.0
// Owners of libvirt's reference-counted objects, and its last error as ours.
#pragma once

#include <cstdlib>
#include <memory>
#include <string_view>

#include <libvirt/libvirt.h>

#include "engine/base/result.h"

namespace acma::host {

struct FreeDomain {
    void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
using DomainHandle = std::unique_ptr<virDomain, FreeDomain>;

struct CloseConnection {
    void operator()(virConnectPtr connection) const { virConnectClose(connection); }
};
using ConnectionHandle = std::unique_ptr<virConnect, CloseConnection>;

struct FreeText {
    void operator()(char* text) const { std::free(text); }
};
using LibvirtText = std::unique_ptr<char, FreeText>;

// The calling thread's last libvirt error.
[[nodiscard]] Error last_libvirt_error(std::string_view what);

// It says that there is no such domain; any other error says nothing about the domain.
[[nodiscard]] bool last_error_is_no_domain();

// libvirt's own test driver: it has no QEMU, no cgroup and no events about balloons.
[[nodiscard]] bool is_test_driver(virConnectPtr connection);

// Stops libvirt from printing errors to stderr: each is returned to the caller instead.
void silence_libvirt();

}  // namespace acma::host
