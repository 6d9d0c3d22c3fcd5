// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metrics/metrics.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace acma::host {

namespace {
using proto::VmSummary;
using Labels = std::vector<prometheus::ClientMetric::Label>;

// One family is built and written at a time: all of them at once took 8 KiB a domain, which the
// allocator never gave back.
class Families {
  public:
    using Fill = std::function<void(prometheus::MetricFamily&)>;

    void add(const char* name, const char* help, prometheus::MetricType type, const Fill& fill) {
        std::vector<prometheus::MetricFamily> one{{name, help, type, {}}};
        fill(one.front());
        prometheus::TextSerializer().Serialize(text_, one);
    }

    void gauge(const char* name, const char* help, double value) {
        add(name, help, prometheus::MetricType::Gauge,
            [value](prometheus::MetricFamily& family) { sample(family, {}, value); });
    }

    static void sample(prometheus::MetricFamily& family, Labels labels, double value) {
        prometheus::ClientMetric metric;
        metric.label = std::move(labels);
        if (family.type == prometheus::MetricType::Counter) {
            metric.counter.value = value;
        } else {
            metric.gauge.value = value;
        }
        family.metric.push_back(std::move(metric));
    }

    [[nodiscard]] std::string text() const { return text_.str(); }

  private:
    std::ostringstream text_;
};

void add_histogram(Families& families, const char* name, const char* help,
                   const DurationHistogram& durations) {
    prometheus::ClientMetric metric;
    uint64_t up_to = 0;
    for (size_t i = 0; i < DurationHistogram::k_buckets; ++i) {
        up_to += durations.in_bucket(i);
        const double bound = static_cast<double>(DurationHistogram::bound(i).count()) / 1e6;
        metric.histogram.bucket.push_back({up_to, bound});
    }
    metric.histogram.sample_count = durations.count();
    metric.histogram.sample_sum = static_cast<double>(durations.sum().count()) / 1e6;
    families.add(name, help, prometheus::MetricType::Histogram,
                 [&metric](prometheus::MetricFamily& family) { family.metric.push_back(metric); });
}

double bytes(Bytes size) {
    return static_cast<double>(size.count());
}
double basis_points(BasisPoints share) {
    return static_cast<double>(share.count());
}
Labels labels_of(const VmSummary& vm) {
    return {{"domain", vm.name}, {"uuid", vm.uuid}};
}

// What a guest said last is of no use once its agent is gone or stands still.
bool is_fresh(const VmSummary& vm) {
    return vm.agent_connected &&
           std::none_of(vm.marks.begin(), vm.marks.end(),
                        [](const proto::Mark& mark) { return mark.what == "stale"; });
}

using Value = std::optional<double>;  // nothing: not known, no sample

struct DomainFigure {
    const char* name;
    const char* help;
    std::function<Value(const VmSummary&)> value;
};

// The one list of per-domain gauges.
const std::vector<DomainFigure>& domain_gauges() {
    const auto of_policy = [](auto read) {
        return [read](const VmSummary& vm) {
            return vm.policy ? std::optional<double>(read(*vm.policy)) : std::nullopt;
        };
    };
    static const std::vector<DomainFigure> k_gauges{
        {"acma_domain_memory_ram_bytes", "RAM of the domain.",
         [](const VmSummary& vm) { return bytes(vm.ram); }},
        {"acma_domain_memory_min_bytes", "min-mem of the policy.",
         of_policy([](const Policy& policy) { return bytes(policy.min_mem); })},
        {"acma_domain_memory_max_bytes", "max-mem of the policy.",
         of_policy([](const Policy& policy) { return bytes(policy.max_mem); })},
        {"acma_domain_memory_target_bytes", "Balloon target in force.",
         [](const VmSummary& vm) { return bytes(vm.balloon_target); }},
        {"acma_domain_memory_actual_bytes", "RAM less what the balloon holds.",
         [](const VmSummary& vm) { return bytes(vm.balloon_actual); }},
        {"acma_domain_memory_size_bytes",
         "What the domain has: RAM less what the balloon holds and what the guest gave up beside.",
         [](const VmSummary& vm) { return bytes(vm.size); }},
        {"acma_domain_memory_host_bytes",
         "Host bytes of the guest: resident, swapped and hugetlb bytes of its RAM. 0: not "
         "measured.",
         [](const VmSummary& vm) { return bytes(vm.host); }},
        {"acma_domain_host_swap_bytes", "The swapped part of the host bytes.",
         [](const VmSummary& vm) { return bytes(vm.host_swap); }},
        {"acma_domain_qemu_own_bytes", "Memory of the QEMU process beside the guest's RAM.",
         [](const VmSummary& vm) { return bytes(vm.qemu_own); }},
        {"acma_domain_virtio_mem_bytes", "Plugged by virtio-mem devices.",
         [](const VmSummary& vm) {
             return vm.virtio_mem ? std::optional<double>(bytes(*vm.virtio_mem)) : std::nullopt;
         }},
        {"acma_domain_virtio_mem_requested_bytes",
         "What virtio-mem devices are asked to have plugged.",
         [](const VmSummary& vm) {
             return vm.virtio_mem_requested ? std::optional<double>(bytes(*vm.virtio_mem_requested))
                                            : std::nullopt;
         }},
        {"acma_domain_memory_high_bytes",
         "memory.high of the domain's cgroup, where it is held by that.",
         [](const VmSummary& vm) {
             return vm.held ? std::optional<double>(bytes(*vm.held)) : std::nullopt;
         }},
        {"acma_domain_psi_bp",
         "Share of time that some task in the guest stalled on memory, in basis points.",
         [](const VmSummary& vm) {
             return vm.psi && is_fresh(vm) ? std::optional<double>(basis_points(*vm.psi))
                                           : std::nullopt;
         }},
        {"acma_domain_psi_target_bp", "The share that the policy accepts, in basis points.",
         of_policy([](const Policy& policy) { return basis_points(policy.psi); })},
        {"acma_domain_agent_up", "1 while the agent of the guest answers.",
         [](const VmSummary& vm) { return vm.agent_connected ? 1.0 : 0.0; }},
    };
    return k_gauges;
}

// A sample of each domain whose value is known.
void add_of_domains(Families& families, const Figures& figures, prometheus::MetricType type,
                    const DomainFigure& gauge) {
    families.add(gauge.name, gauge.help, type, [&](prometheus::MetricFamily& family) {
        for (const VmSummary& vm : figures.list.vms) {
            if (const Value value = gauge.value(vm)) {
                Families::sample(family, labels_of(vm), *value);
            }
        }
    });
}

// A sample of each domain for each of its words, under this label.
struct DomainWords {
    const char* name;
    const char* help;
    const char* label;
    std::function<std::vector<std::string>(const VmSummary&)> words;
};

void add_words(Families& families, const Figures& figures, const DomainWords& of_domain) {
    families.add(of_domain.name, of_domain.help, prometheus::MetricType::Gauge,
                 [&](prometheus::MetricFamily& family) {
                     for (const VmSummary& vm : figures.list.vms) {
                         for (std::string& word : of_domain.words(vm)) {
                             Labels labels = labels_of(vm);
                             labels.push_back({of_domain.label, std::move(word)});
                             Families::sample(family, std::move(labels), 1);
                         }
                     }
                 });
}

std::vector<DomainFigure> domain_counters(const Figures& figures) {
    const auto used = [&figures](auto part) {
        return [&figures, part](const VmSummary& vm) {
            const auto metered = figures.used.find(vm.uuid);
            return metered == figures.used.end() ? Value() : Value(metered->second.*part);
        };
    };
    return {
        {"acma_domain_decisions_total", "Decisions about the domain since it was found.",
         [&figures](const VmSummary& vm) {
             const auto count = figures.decisions.find(vm.uuid);
             return Value(count == figures.decisions.end() ? 0.0
                                                           : static_cast<double>(count->second));
         }},
        {"acma_domain_agent_cost_seconds_total",
         "Time that the controller spent on what the guest's agent sent.",
         [&figures](const VmSummary& vm) {
             const auto spent = figures.agent_cost.find(vm.uuid);
             return spent == figures.agent_cost.end()
                        ? Value()
                        : Value(static_cast<double>(spent->second.count()) / 1e6);
         }},
        {"acma_memory_used_byte_seconds_total",
         "Host bytes of the domain over time, since it was found.",
         used(&Figures::Used::byte_seconds)},
        {"acma_memory_used_above_min_byte_seconds_total", "The part of them above min-mem.",
         used(&Figures::Used::above_min_byte_seconds)},
    };
}

void add_domains(Families& families, const Figures& figures) {
    for (const DomainFigure& gauge : domain_gauges()) {
        add_of_domains(families, figures, prometheus::MetricType::Gauge, gauge);
    }
    for (const DomainFigure& counter : domain_counters(figures)) {
        add_of_domains(families, figures, prometheus::MetricType::Counter, counter);
    }
    add_words(families, figures,
              {"acma_domain_marked", "1 for each mark that the domain has, by its word.", "mark",
               [](const VmSummary& vm) {
                   std::vector<std::string> words;
                   for (const proto::Mark& mark : vm.marks) {
                       words.push_back(mark.what);
                   }
                   return words;
               }});
    add_words(families, figures,
              {"acma_domain_state", "1 for the state that the domain is in.", "state",
               [](const VmSummary& vm) {
                   return std::vector<std::string>{std::string(to_string(vm.state))};
               }});
}

void add_host(Families& families, const proto::HostSummary& host) {
    families.gauge("acma_host_memory_bytes", "Memory of the host.", bytes(host.mem_total));
    families.gauge("acma_host_memory_available_bytes", "Memory of the host that is available.",
                   bytes(host.mem_available));
    families.gauge("acma_host_memory_granted_bytes",
                   "Sum of what the domains may have and of QEMU's own memory.",
                   bytes(host.granted));
    families.gauge("acma_host_memory_budget_bytes", "What all domains are promised at most.",
                   bytes(host.budget));
    families.gauge("acma_host_memory_reserve_bytes", "What the host keeps for itself.",
                   bytes(host.reserve));
    families.gauge("acma_host_memory_reserved_bytes",
                   "Of the budget, kept for domains that are to come.", bytes(host.reserved));
    families.gauge("acma_host_memory_lacking_bytes", "Guaranteed or reserved beyond the budget.",
                   bytes(host.lacking));
    families.gauge("acma_paused", "1 while the operator has it change nothing.",
                   host.paused ? 1 : 0);
    families.gauge("acma_dry_run", "1 where it was started so that it changes nothing.",
                   host.dry_run ? 1 : 0);
    families.gauge("acma_host_psi_bp",
                   "Share of time that some task of the host stalled on memory, in basis points.",
                   basis_points(host.psi));
    families.add("acma_host_strain", "1 for the host's state, which is a label.",
                 prometheus::MetricType::Gauge, [&host](prometheus::MetricFamily& family) {
                     for (const char* word : {"none", "strained", "emergency"}) {
                         Families::sample(family, {{"strain", word}}, host.strain == word ? 1 : 0);
                     }
                 });
    families.gauge("acma_libvirt_up", "1 while libvirt is connected.",
                   host.libvirt_connected ? 1 : 0);
}
}  // namespace

std::string metrics_text(const Figures& figures) {
    Families families;
    families.add("acma_build_info", "Always 1; the version is a label.",
                 prometheus::MetricType::Gauge, [&figures](prometheus::MetricFamily& family) {
                     Families::sample(family, {{"version", figures.list.controller_version}}, 1);
                 });
    add_host(families, figures.list.host);
    families.gauge("acma_usage_database_up", "1 while usage can be written to its database.",
                   figures.usage_written ? 1 : 0);
    add_histogram(families, "acma_controller_cycle_seconds",
                  "Of one domain, from when its agent is due to be asked until its answer is "
                  "decided upon, the guest's time included.",
                  figures.timings.cycle);
    add_histogram(families, "acma_controller_pass_seconds",
                  "Of the pass over all domains, once a second.", figures.timings.pass);
    add_domains(families, figures);
    return families.text();
}

}  // namespace acma::host
