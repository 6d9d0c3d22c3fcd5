// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/sampler.h"

#include <unistd.h>

namespace acma::agent {

namespace {
std::optional<platform::PolledFile> open_or_report(const std::string& path, const char* what,
                                                   const char* consequence,
                                                   std::vector<Problem>& problems) {
    auto file = platform::PolledFile::open(path);
    if (file && file->read()) {
        return std::move(*file);
    }
    const std::string why = file ? file->read().error().message : file.error().message;
    problems.push_back(Problem{.what = what, .message = why + "; " + consequence});
    return std::nullopt;
}
}  // namespace

Sampler::Sampler(const std::string& proc, std::vector<Problem>& problems)
    : page_size_(static_cast<uint64_t>(::sysconf(_SC_PAGESIZE))) {
    // psi=0 on the kernel's command line leaves the file out or makes reading fail (EOPNOTSUPP).
    psi_ = open_or_report(proc + "/pressure/memory", "no-psi",
                          "without PSI (CONFIG_PSI, psi=1 on the kernel's command line) nothing is "
                          "paged out; status and the host's balloon still work",
                          problems);
    vmstat_ = open_or_report(proc + "/vmstat", "no-vmstat", "swap-ins are not seen", problems);
    meminfo_ = open_or_report(proc + "/meminfo", "no-meminfo", "sizes are not known", problems);
}

Result<Observation> Sampler::observe() {
    Observation seen;
    if (psi_) {
        const auto text = psi_->read();
        const auto total =
            text ? platform::parse_psi_some_total(*text) : Result<Micros>(text.error());
        if (!total) {
            return total.error();
        }
        seen.psi_some_total = *total;
    }
    if (vmstat_) {
        const auto text = vmstat_->read();
        if (!text) {
            return text.error();
        }
        seen.vmstat = platform::parse_vmstat(*text, page_size_);
    }
    if (meminfo_) {
        const auto text = meminfo_->read();
        const auto info =
            text ? platform::parse_meminfo(*text) : Result<platform::MemInfo>(text.error());
        if (!info) {
            return info.error();
        }
        seen.meminfo = *info;
    }
    return seen;
}

}  // namespace acma::agent
