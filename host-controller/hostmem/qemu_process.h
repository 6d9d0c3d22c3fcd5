// SPDX-License-Identifier: Apache-2.0
// The QEMU process of a domain, found and held by its /proc directory: unlike a pid, an open
// directory never comes to mean another process.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/units.h"

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
    // Resident bytes without hugetlb pages, from statm: a tenth of the cost of reading "status".
    [[nodiscard]] Result<Bytes> resident();

  private:
    friend class ProcessSearch;
    explicit QemuProcess(int dir_fd) : dir_fd_(dir_fd) {}
    int dir_fd_ = -1;
    int statm_fd_ = -1;  // kept open
};

// Finds the processes of many domains: all command lines are read once for all of them.
class ProcessSearch {
  public:
    explicit ProcessSearch(ProcRoots roots) : roots_(std::move(roots)) {}
    // As QemuProcess::find(), by what was read no longer than `old` ago.
    [[nodiscard]] Result<QemuProcess> find(const std::string& name, const std::string& uuid,
                                           Time now, Micros old);

  private:
    void read_all();
    [[nodiscard]] std::optional<QemuProcess> open(const std::string& pid, std::string_view uuid);

    const ProcRoots roots_;
    std::optional<Time> read_at_;
    std::map<std::string, std::string, std::less<>> pids_;  // by UUID
    std::string cmdline_;                                   // used again by every read
};

}  // namespace acma::host
