// SPDX-License-Identifier: Apache-2.0
// What `acmactl top` shows: the last answers of the controller as a table of the VMs, sorted as the
// operator likes, with their sizes and pressure over the last refreshes. Pure: answers and keys go
// in, a screen of text comes out.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/controller_api.h"

namespace acma::ctl {

enum class SortBy { host, name, psi, target };
[[nodiscard]] std::optional<SortBy> parse_sort(std::string_view word);

// Bars of eighths, or ASCII for terminals that have no others.
enum class Glyphs { blocks, ascii };
// `values` from 0 to `most`, one character each; blank for what is not known.
[[nodiscard]] std::string sparkline(const std::deque<std::optional<uint64_t>>& values,
                                    uint64_t most, Glyphs glyphs);

struct Screen {
    size_t lines = 0;  // 0: as many as there are
    size_t columns = 0;
};

class TopView {
  public:
    static constexpr size_t k_history = 16;  // refreshes

    TopView(SortBy sort, Glyphs glyphs) : sort_(sort), glyphs_(glyphs) {}

    void add(proto::VmList list, Micros wall);
    enum class Key { ignored, redraw, quit };
    // n, h, p, t: sort by name, host bytes, PSI, target; r: the other way round; q: end.
    Key press(char key);
    [[nodiscard]] std::string render(Screen screen) const;

  private:
    struct History {
        std::deque<std::optional<uint64_t>> size;
        std::deque<std::optional<uint64_t>> psi;
    };
    [[nodiscard]] std::vector<const proto::VmSummary*> sorted() const;
    [[nodiscard]] std::string host_lines() const;
    [[nodiscard]] std::string vm_lines(const std::vector<const proto::VmSummary*>& vms) const;

    SortBy sort_;
    bool reversed_ = false;
    const Glyphs glyphs_;
    proto::VmList list_;
    Micros wall_{0};
    History host_;                        // its free memory of the budget, and its PSI
    std::map<std::string, History> vms_;  // by UUID
};

}  // namespace acma::ctl
