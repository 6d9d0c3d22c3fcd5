// SPDX-License-Identifier: Apache-2.0
// The QEMU process of a domain, found and held by its /proc directory: unlike a pid, an open
// directory never comes to mean another process.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace acma::host {

struct ProcRoots {
    std::filesystem::path proc = "/proc";
    std::filesystem::path pid_files = "/run/libvirt/qemu";
};

class QemuProcess {
  public:
    // By libvirt's pid file, verified by the domain's UUID in the command line; else (another
    // driver's root, a stale file) by a search of all processes. not_found: there is none.
    [[nodiscard]] static Result<QemuProcess> find(const ProcRoots& roots, const std::string& name,
                                                  std::string_view uuid);

    QemuProcess(QemuProcess&& other) noexcept;
    QemuProcess& operator=(QemuProcess&& other) noexcept;
    QemuProcess(const QemuProcess&) = delete;
    QemuProcess& operator=(const QemuProcess&) = delete;
    ~QemuProcess();

    // A file of the process's directory, into `text` (its storage is reused). not_found: the
    // process has ended.
    [[nodiscard]] Status read(const char* file, std::string& text) const;

  private:
    explicit QemuProcess(int dir_fd) : dir_fd_(dir_fd) {}
    int dir_fd_ = -1;
};

}  // namespace acma::host
