// SPDX-License-Identifier: Apache-2.0
#include "host-controller/hostmem/qemu_process.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace acma::host {

namespace {
// smaps of a QEMU with 1,000 mappings is 700 KiB; beyond this something is wrong.
constexpr size_t k_max_file = 64UL * 1024 * 1024;
constexpr size_t k_chunk = 64UL * 1024;

bool is_pid(std::string_view text) {
    constexpr size_t k_longest = 10;
    return !text.empty() && text.size() <= k_longest &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<std::string> pid_from_file(const std::filesystem::path& file) {
    std::ifstream in(file);
    std::string pid;
    if (!(in >> pid) || !is_pid(pid)) {
        return std::nullopt;
    }
    return pid;
}

// libvirt starts QEMU with "-uuid <UUID>"; the arguments are separated by NUL.
bool runs_domain(std::string_view cmdline, std::string_view uuid) {
    const std::string option = std::string("-uuid") + '\0' + std::string(uuid);
    const size_t at = cmdline.find(option);
    return at != std::string_view::npos && (at == 0 || cmdline[at - 1] == '\0') &&
           (at + option.size() == cmdline.size() || cmdline[at + option.size()] == '\0');
}
}  // namespace

QemuProcess::QemuProcess(QemuProcess&& other) noexcept
    : dir_fd_(std::exchange(other.dir_fd_, -1)) {}

QemuProcess& QemuProcess::operator=(QemuProcess&& other) noexcept {
    std::swap(dir_fd_, other.dir_fd_);
    return *this;
}

QemuProcess::~QemuProcess() {
    if (dir_fd_ >= 0) {
        ::close(dir_fd_);
    }
}

Status QemuProcess::read(const char* file, std::string& text) const {
    const int fd = ::openat(dir_fd_, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_from_errno(errno, file);
    }
    size_t used = 0;
    ssize_t got = 0;
    do {
        text.resize(used + k_chunk);
        got = ::read(fd, text.data() + used, k_chunk);
        used += got > 0 ? static_cast<size_t>(got) : 0;
    } while ((got > 0 && used < k_max_file) || (got < 0 && errno == EINTR));
    const int failed = got < 0 ? errno : 0;
    ::close(fd);
    text.resize(used);
    if (failed != 0) {
        return error_from_errno(failed, file);
    }
    if (used >= k_max_file) {
        return Error{ErrorCode::too_large, std::string(file) + ": more than 64 MiB"};
    }
    return {};
}

Result<QemuProcess> QemuProcess::find(const ProcRoots& roots, const std::string& name,
                                      std::string_view uuid) {
    std::string cmdline;
    const auto try_pid = [&roots, &cmdline, uuid](const std::string& pid) -> QemuProcess {
        QemuProcess process(::open((roots.proc / pid).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const bool ours =
            process.dir_fd_ >= 0 && process.read("cmdline", cmdline) && runs_domain(cmdline, uuid);
        return ours ? std::move(process) : QemuProcess(-1);
    };

    if (const auto pid = pid_from_file(roots.pid_files / (name + ".pid"))) {
        if (QemuProcess process = try_pid(*pid); process.dir_fd_ >= 0) {
            return process;
        }
    }
    std::error_code failed;
    std::filesystem::directory_iterator entry(roots.proc, failed);
    for (const std::filesystem::directory_iterator end; !failed && entry != end;
         entry.increment(failed)) {
        const std::string pid = entry->path().filename();
        if (!is_pid(pid)) {
            continue;
        }
        if (QemuProcess process = try_pid(pid); process.dir_fd_ >= 0) {
            return process;
        }
    }
    return Error{ErrorCode::not_found, "no QEMU process of domain " + name + " on this host"};
}

}  // namespace acma::host
