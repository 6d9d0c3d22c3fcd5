// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/table.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace acma::ctl {

namespace {
size_t width_of(const std::string& cell) {
    return cell.size() -
           static_cast<size_t>(std::count_if(cell.begin(), cell.end(), is_continuation));
}
}  // namespace

std::string table(const std::vector<Row>& rows, size_t figures) {
    std::vector<size_t> widths(rows.front().size());
    for (const Row& row : rows) {
        for (size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], width_of(row[i]));
        }
    }
    std::string text;
    for (const Row& row : rows) {
        std::string line;
        for (size_t i = 0; i < row.size(); ++i) {
            const std::string pad(widths[i] - width_of(row[i]), ' ');
            const bool right = i > 0 && i <= figures;
            line += (i == 0 ? "" : "  ") + (right ? pad + row[i] : row[i] + pad);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

std::string fixed(double value, int digits, const char* unit) {
    std::array<char, 64> text{};
    (void)std::snprintf(text.data(), text.size(), "%.*f%s", digits, value, unit);
    return text.data();
}

double seconds(Micros duration) {
    return std::chrono::duration<double>(duration).count();
}

std::string share_met(Micros met, Micros of) {
    if (of == Micros(0)) {
        return "-";
    }
    const double share = seconds(met) / seconds(of);
    return fixed(static_cast<double>(static_cast<int64_t>(share * 1e5)) / 1e3, 3, " %");
}

std::string per_minute(uint64_t count, Micros time) {
    return time > Micros(0) ? fixed(static_cast<double>(count) / (seconds(time) / 60), 2, "") : "-";
}

}  // namespace acma::ctl
