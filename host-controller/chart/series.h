// SPDX-License-Identifier: Apache-2.0
// What was seen of something over the last day, for a chart: the last five minutes in steps of 5 s,
// the last hour in steps of a minute, the last day in steps of ten minutes. In 4.1 KiB.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/base/units.h"

namespace acma::host {

// Which sizes and shares these are, the owner knows. What is not known is left out.
struct ChartFigures {
    std::array<std::optional<Bytes>, 5> sizes;
    std::array<std::optional<BasisPoints>, 2> shares;
    bool operator==(const ChartFigures&) const = default;
};

struct ChartPoint {
    Time until;            // end of its step, or of what there is of it
    ChartFigures figures;  // sizes: the mean of the step; shares: the highest
    bool operator==(const ChartPoint&) const = default;
};

enum class ChartRange { five_minutes, hour, day };
[[nodiscard]] Micros step_of(ChartRange range);
// "5m", "1h", "24h".
[[nodiscard]] std::optional<ChartRange> parse_chart_range(std::string_view text);

// Sizes in 16 bits: exact below 2 MiB, else to 0.05 %.
class PackedSize {
  public:
    PackedSize() = default;  // not known
    explicit PackedSize(std::optional<Bytes> size);
    [[nodiscard]] std::optional<Bytes> unpack() const;

  private:
    uint16_t code_ = std::numeric_limits<uint16_t>::max();
};

// The last `Count` steps.
template <size_t Count>
class Steps {
  public:
    explicit Steps(Micros step) : step_(step) {}

    void add(const ChartFigures& seen, Time now);
    // Oldest first; steps of which nothing is known are left out.
    [[nodiscard]] std::vector<ChartPoint> points() const;

  private:
    struct Packed {
        std::array<PackedSize, 5> sizes;
        std::array<uint16_t, 2> shares{k_unknown, k_unknown};
    };
    struct Sum {
        uint64_t kib = 0;
        uint32_t count = 0;
    };
    static constexpr uint16_t k_unknown = std::numeric_limits<uint16_t>::max();

    [[nodiscard]] ChartFigures current() const;
    void close();

    Micros step_;
    std::array<Packed, Count> ring_;  // step n is at n % Count
    int64_t open_ = -1;               // the step that is not over
    Time last_;                       // when something was seen last
    std::array<Sum, 5> sums_{};       // of the open step
    std::array<std::optional<BasisPoints>, 2> highest_{};
};

class Series {
  public:
    // `now` never goes back; once a second.
    void add(const ChartFigures& seen, Time now);
    [[nodiscard]] std::vector<ChartPoint> points(ChartRange range) const;

  private:
    Steps<60> seconds_{step_of(ChartRange::five_minutes)};
    Steps<60> minutes_{step_of(ChartRange::hour)};
    Steps<144> day_{step_of(ChartRange::day)};
};

}  // namespace acma::host
