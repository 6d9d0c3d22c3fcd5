// SPDX-License-Identifier: Apache-2.0
#include "host-controller/chart/charts.h"

namespace acma::host {

namespace {
Micros wall(Time at, Now now) {
    return now.wall - (now.mono - at);
}

std::optional<Bytes> known(Bytes size) {
    return size > Bytes(0) ? std::optional(size) : std::nullopt;
}

ChartFigures to_chart(const VmFigures& vm) {
    return {{vm.min_mem, vm.max_mem, vm.grant, vm.size, vm.host}, {vm.psi, vm.psi_target}};
}

proto::VmPoint vm_point(const ChartPoint& point, Now now) {
    const auto& [sizes, shares] = point.figures;
    return {wall(point.until, now),
            sizes[0],
            sizes[1],
            sizes[2],
            sizes[3],
            sizes[4],
            shares[0],
            shares[1]};
}

proto::HostPoint host_point(const ChartPoint& point, Now now) {
    const auto& [sizes, shares] = point.figures;
    return {wall(point.until, now), sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], shares[0]};
}
}  // namespace

void Charts::observe(const std::map<VmId, Vm>& vms, const proto::HostSummary& host, Time now) {
    Bytes granted;
    Bytes used;
    auto chart = vms_.begin();  // goes along with the VMs: both are in the order of their ids
    for (const auto& [id, vm] : vms) {
        while (chart != vms_.end() && chart->first < id) {
            chart = vms_.erase(chart);
        }
        if (chart == vms_.end() || chart->first != id) {
            chart = vms_.try_emplace(chart, id);
        }
        const VmFigures figures = vm.figures();
        chart++->second.add(to_chart(figures), now);
        granted += figures.grant + figures.qemu_own;
        used += figures.host.value_or(Bytes(0)) + figures.qemu_own;
    }
    vms_.erase(chart, vms_.end());
    if (host.mem_total > Bytes(0)) {
        host_.add({{known(host.budget), granted, host.reserved, used, host.mem_available},
                   {host.psi, std::nullopt}},
                  now);
    }
}

std::vector<proto::HostPoint> Charts::host(ChartRange range, Now now) const {
    std::vector<proto::HostPoint> points;
    for (const ChartPoint& point : host_.points(range)) {
        points.push_back(host_point(point, now));
    }
    return points;
}

std::vector<proto::VmPoint> Charts::vm(const VmId& vm, ChartRange range, Now now) const {
    std::vector<proto::VmPoint> points;
    if (const auto chart = vms_.find(vm); chart != vms_.end()) {
        for (const ChartPoint& point : chart->second.points(range)) {
            points.push_back(vm_point(point, now));
        }
    }
    return points;
}

}  // namespace acma::host
