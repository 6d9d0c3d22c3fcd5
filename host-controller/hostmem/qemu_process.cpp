// SPDX-License-Identifier: Apache-2.0
#include "host-controller/hostmem/qemu_process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
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
constexpr size_t k_first_chunk = 4UL * 1024;
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

// libvirt starts QEMU with "-uuid <UUID>"; the arguments are separated by NUL. Empty: there is
// none.
std::string_view uuid_of(std::string_view cmdline) {
    constexpr std::string_view k_option{"\0-uuid\0", 7};
    const size_t at = cmdline.find(k_option);
    if (at == std::string_view::npos) {
        return {};
    }
    const std::string_view rest = cmdline.substr(at + k_option.size());
    return rest.substr(0, rest.find('\0'));
}
}  // namespace

QemuProcess::QemuProcess(QemuProcess&& other) noexcept
    : dir_fd_(std::exchange(other.dir_fd_, -1)), statm_fd_(std::exchange(other.statm_fd_, -1)) {}

QemuProcess& QemuProcess::operator=(QemuProcess&& other) noexcept {
    std::swap(dir_fd_, other.dir_fd_);
    std::swap(statm_fd_, other.statm_fd_);
    return *this;
}

QemuProcess::~QemuProcess() {
    for (const int fd : {dir_fd_, statm_fd_}) {
        if (fd >= 0) {
            ::close(fd);
        }
    }
}

// "size resident shared ...", in pages.
Result<Bytes> QemuProcess::resident() {
    if (statm_fd_ < 0) {
        statm_fd_ = ::openat(dir_fd_, "statm", O_RDONLY | O_CLOEXEC);
    }
    std::array<char, 128> text{};
    const ssize_t got = ::pread(statm_fd_, text.data(), text.size(), 0);
    if (got < 0) {
        return error_from_errno(errno, "statm");
    }
    const std::string_view line(text.data(), static_cast<size_t>(got));
    const size_t second = std::min(line.find(' ') + 1, line.size());
    uint64_t pages = 0;
    const auto [end, error] =
        std::from_chars(line.data() + second, line.data() + line.size(), pages);
    if (error != std::errc()) {
        return Error{ErrorCode::not_found, "statm: the process has ended"};
    }
    static const auto k_page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    return Bytes(pages) * k_page;
}

Status QemuProcess::read(const char* file, std::string& text) const {
    const int fd = ::openat(dir_fd_, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_from_errno(errno, file);
    }
    size_t used = 0;
    ssize_t got = 0;
    do {
        const size_t chunk = used == 0 ? k_first_chunk : k_chunk;
        text.resize(used + chunk);
        got = ::read(fd, text.data() + used, chunk);
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
    return ProcessSearch(roots).find(name, std::string(uuid), Time(), Micros(0));
}

std::optional<QemuProcess> ProcessSearch::open(const std::string& pid, std::string_view uuid) {
    QemuProcess process(::open((roots_.proc / pid).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const bool its =
        process.dir_fd_ >= 0 && process.read("cmdline", cmdline_) && uuid_of(cmdline_) == uuid;
    return its ? std::optional(std::move(process)) : std::nullopt;
}

void ProcessSearch::read_all() {
    pids_.clear();
    std::error_code failed;
    std::filesystem::directory_iterator entry(roots_.proc, failed);
    for (const std::filesystem::directory_iterator end; !failed && entry != end;
         entry.increment(failed)) {
        const std::string pid = entry->path().filename();
        if (!is_pid(pid)) {
            continue;
        }
        const QemuProcess process(
            ::open((roots_.proc / pid).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (process.dir_fd_ >= 0 && process.read("cmdline", cmdline_)) {
            if (const std::string_view uuid = uuid_of(cmdline_); !uuid.empty()) {
                pids_.insert_or_assign(std::string(uuid), pid);
            }
        }
    }
}

Result<QemuProcess> ProcessSearch::find(const std::string& name, const std::string& uuid, Time now,
                                        Micros old) {
    if (const auto pid = pid_from_file(roots_.pid_files / (name + ".pid"))) {
        if (auto process = open(*pid, uuid)) {
            return *std::move(process);
        }
    }
    if (!read_at_ || now - *read_at_ >= old) {
        read_at_ = now;
        read_all();
    }
    if (const auto found = pids_.find(uuid); found != pids_.end()) {
        if (auto process = open(found->second, uuid)) {
            return *std::move(process);
        }
    }
    return Error{ErrorCode::not_found, "no QEMU process of domain " + name + " on this host"};
}

}  // namespace acma::host
