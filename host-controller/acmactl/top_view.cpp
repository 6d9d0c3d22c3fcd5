// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/top_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/base/count.h"
#include "host-controller/acmactl/render.h"
#include "host-controller/acmactl/table.h"

namespace acma::ctl {

namespace {
using proto::VmSummary;

constexpr std::array<std::pair<std::string_view, SortBy>, 4> k_sorts{{{"host", SortBy::host},
                                                                      {"name", SortBy::name},
                                                                      {"psi", SortBy::psi},
                                                                      {"target", SortBy::target}}};
constexpr std::array<const char*, 8> k_blocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::array<const char*, 8> k_ascii{"_", ".", ":", "-", "=", "+", "*", "#"};

// A full bar where no policy says what is accepted: 10 %.
constexpr uint64_t k_host_psi_most = 1000;
constexpr size_t k_figures = 3;  // right-aligned ones

void keep(std::deque<std::optional<uint64_t>>& values, std::optional<uint64_t> value) {
    values.push_back(value);
    if (values.size() > TopView::k_history) {
        values.pop_front();
    }
}

std::optional<uint64_t> psi_of(const VmSummary& vm) {
    return vm.psi ? std::optional(vm.psi->count()) : std::nullopt;
}

// What is promised to nobody and kept for nobody.
Bytes free_of(const proto::HostSummary& host) {
    return host.budget - host.granted - host.reserved;
}

// At most `columns` characters of each line (0: all), and `lines` lines, the last one without its
// newline.
std::string cut(const std::string& text, Screen screen) {
    std::string out;
    size_t line = 1;
    size_t column = 0;
    for (const char c : text) {
        if (c == '\n') {
            if (screen.lines != 0 && ++line > screen.lines) {
                break;
            }
            column = 0;
            out.push_back(c);
            continue;
        }
        column += is_continuation(c) ? 0U : 1U;
        if (screen.columns == 0 || column <= screen.columns) {
            out.push_back(c);
        }
    }
    return out;
}
}  // namespace

std::optional<SortBy> parse_sort(std::string_view word) {
    for (const auto& [name, sort] : k_sorts) {
        if (name == word) {
            return sort;
        }
    }
    return std::nullopt;
}

std::string sparkline(const std::deque<std::optional<uint64_t>>& values, uint64_t most,
                      Glyphs glyphs) {
    const auto& steps = glyphs == Glyphs::blocks ? k_blocks : k_ascii;
    std::string text;
    for (const auto& value : values) {
        if (!value) {
            text += " ";
            continue;
        }
        const double share =
            static_cast<double>(*value) / static_cast<double>(std::max<uint64_t>(most, 1));
        const double step = std::min(share, 1.0) * static_cast<double>(steps.size() - 1);
        text += steps.at(static_cast<size_t>(std::lround(step)));
    }
    return text;
}

void TopView::add(proto::VmList list, Micros wall) {
    list_ = std::move(list);
    wall_ = wall;
    keep(host_.size, free_of(list_.host).count());
    keep(host_.psi, list_.host.psi.count());
    std::map<std::string, History> histories;
    for (const VmSummary& vm : list_.vms) {
        History& history = histories[vm.uuid];
        if (const auto known = vms_.find(vm.uuid); known != vms_.end()) {
            history = std::move(known->second);
        }
        keep(history.size, vm.host > Bytes(0) ? std::optional(vm.host.count()) : std::nullopt);
        keep(history.psi, psi_of(vm));
    }
    vms_ = std::move(histories);  // who is gone is forgotten
}

TopView::Key TopView::press(char key) {
    switch (key) {
        case 'n':
            sort_ = SortBy::name;
            return Key::redraw;
        case 'h':
            sort_ = SortBy::host;
            return Key::redraw;
        case 'p':
            sort_ = SortBy::psi;
            return Key::redraw;
        case 't':
            sort_ = SortBy::target;
            return Key::redraw;
        case 'r':
            reversed_ = !reversed_;
            return Key::redraw;
        case 'q':
            return Key::quit;
        default:
            return Key::ignored;
    }
}

// Names from A on, figures from the largest on.
std::vector<const VmSummary*> TopView::sorted() const {
    std::vector<const VmSummary*> vms;
    for (const VmSummary& vm : list_.vms) {
        vms.push_back(&vm);
    }
    const auto before = [this](const VmSummary* a, const VmSummary* b) {
        switch (sort_) {
            case SortBy::host:
                return a->host > b->host;
            case SortBy::psi:
                return psi_of(*a).value_or(0) > psi_of(*b).value_or(0);
            case SortBy::target:
                return a->balloon_target > b->balloon_target;
            case SortBy::name:
                break;
        }
        return a->name < b->name;
    };
    std::stable_sort(vms.begin(), vms.end(), before);
    if (reversed_) {
        std::reverse(vms.begin(), vms.end());
    }
    return vms;
}

std::string TopView::host_lines() const {
    const proto::HostSummary& host = list_.host;
    const std::string sort(k_sorts.at(static_cast<size_t>(sort_)).first);
    std::string text = "acma " + utc(wall_) + ", " + counted(list_.vms.size(), "VM") + " by " +
                       sort + (reversed_ ? ", reversed" : "") + "  (keys: h n p t r q)\n";
    text += "host " + human(host.mem_total) + ", available " + human(host.mem_available) +
            ", psi " + human(host.psi) + " " + sparkline(host_.psi, k_host_psi_most, glyphs_);
    text += host.libvirt_connected ? "" : "; libvirt is not connected";
    text += host.dry_run ? "; dry run" : "";
    text += host.paused ? "; paused" : "";
    text += "\nbudget " + human(host.budget) + ": granted " + human(host.granted) + ", reserved " +
            human(host.reserved) + ", free " + human(free_of(host)) + " " +
            sparkline(host_.size, host.budget.count(), glyphs_);
    text += host.lacking > Bytes(0) ? ", lacking " + human(host.lacking) : "";
    text += host.strain_reason.empty() ? "" : "\n" + host.strain + ": " + host.strain_reason;
    return text + "\n\n";
}

std::string TopView::vm_lines(const std::vector<const VmSummary*>& vms) const {
    // What matters most comes first: a terminal may have 80 columns only.
    std::vector<Row> rows{{"NAME", "MAX", "TARGET", "HOST", "OVER TIME", "PSI", "OVER TIME",
                           "STATE", "AGENT", "MARKS"}};
    for (const VmSummary* vm : vms) {
        const History& history = vms_.at(vm->uuid);
        const Bytes most = vm->policy ? vm->policy->max_mem : vm->ram;
        // What is accepted is in the middle.
        const uint64_t psi_most = vm->policy ? 2 * vm->policy->psi.count() : k_host_psi_most;
        const VmCells cells = vm_cells(*vm);
        rows.push_back({cells.name, cells.max, cells.target, cells.host,
                        sparkline(history.size, most.count(), glyphs_), cells.psi,
                        sparkline(history.psi, psi_most, glyphs_), cells.state, cells.agent,
                        cells.marks});
    }
    return table(rows, k_figures);
}

std::string TopView::render(Screen screen) const {
    const std::vector<const VmSummary*> vms = sorted();
    std::string text = host_lines() + vm_lines(vms);
    for (const VmSummary* vm : vms) {
        if (!vm->last_reason.empty()) {
            text += "\n" + printable(vm->name) + ": " + printable(vm->last_reason);
        }
    }
    return cut(text, screen);
}

}  // namespace acma::ctl
