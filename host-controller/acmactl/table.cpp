// SPDX-License-Identifier: Apache-2.0
#include "host-controller/acmactl/table.h"

#include <algorithm>

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

}  // namespace acma::ctl
