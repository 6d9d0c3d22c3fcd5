// SPDX-License-Identifier: Apache-2.0
#include "host-controller/chart/series.h"

#include <algorithm>
#include <bit>

namespace acma::host {

namespace {
// A size is `mantissa` KiB times a power of two: eleven bits, of which the first is set unless the
// exponent is 0, and five bits.
constexpr unsigned k_mantissa_bits = 11;
constexpr uint64_t k_mantissas = uint64_t{1} << k_mantissa_bits;
constexpr unsigned k_highest_exponent = 30;  // 31 is "not known"
constexpr uint64_t k_most_kib = (k_mantissas - 1) << k_highest_exponent;
}  // namespace

Micros step_of(ChartRange range) {
    switch (range) {
        case ChartRange::five_minutes:
            return Seconds(5);
        case ChartRange::hour:
            return Seconds(60);
        case ChartRange::day:
            break;
    }
    return Seconds(600);
}

std::optional<ChartRange> parse_chart_range(std::string_view text) {
    return text == "5m"    ? std::optional(ChartRange::five_minutes)
           : text == "1h"  ? std::optional(ChartRange::hour)
           : text == "24h" ? std::optional(ChartRange::day)
                           : std::nullopt;
}

PackedSize::PackedSize(std::optional<Bytes> size) {
    if (!size) {
        return;
    }
    uint64_t mantissa = std::min(size->count() / 1024, k_most_kib);
    unsigned exponent = 0;
    if (mantissa >= k_mantissas) {
        exponent = static_cast<unsigned>(std::bit_width(mantissa)) - k_mantissa_bits;
        mantissa = (mantissa + (uint64_t{1} << (exponent - 1))) >> exponent;  // rounded
        if (mantissa == k_mantissas) {
            mantissa /= 2;
            ++exponent;
        }
    }
    code_ = static_cast<uint16_t>(exponent << k_mantissa_bits | mantissa);
}

std::optional<Bytes> PackedSize::unpack() const {
    if (code_ == std::numeric_limits<uint16_t>::max()) {
        return std::nullopt;
    }
    return Bytes(code_ % k_mantissas << (code_ >> k_mantissa_bits)) * 1024;
}

template <size_t Count>
void Steps<Count>::add(const ChartFigures& seen, Time now) {
    const int64_t step = now.time_since_epoch() / step_;
    if (step != open_) {
        close();
        // Nothing was seen in what lies between, nor is what was there a round ago.
        for (int64_t gap = std::max(open_ + 1, step - static_cast<int64_t>(Count)); gap <= step;
             ++gap) {
            ring_.at(static_cast<size_t>(gap) % Count) = Packed{};
        }
        open_ = step;
        sums_ = {};
        highest_ = {};
    }
    last_ = now;
    for (size_t i = 0; i < sums_.size(); ++i) {
        if (seen.sizes.at(i)) {
            sums_.at(i).kib += seen.sizes.at(i)->count() / 1024;
            ++sums_.at(i).count;
        }
    }
    for (size_t i = 0; i < highest_.size(); ++i) {
        highest_.at(i) = std::max(highest_.at(i), seen.shares.at(i));
    }
}

template <size_t Count>
ChartFigures Steps<Count>::current() const {
    ChartFigures figures{{}, highest_};
    for (size_t i = 0; i < sums_.size(); ++i) {
        if (sums_.at(i).count > 0) {
            figures.sizes.at(i) = Bytes(sums_.at(i).kib / sums_.at(i).count) * 1024;
        }
    }
    return figures;
}

template <size_t Count>
void Steps<Count>::close() {
    if (open_ < 0) {
        return;
    }
    const ChartFigures figures = current();
    Packed& packed = ring_.at(static_cast<size_t>(open_) % Count);
    for (size_t i = 0; i < figures.sizes.size(); ++i) {
        packed.sizes.at(i) = PackedSize(figures.sizes.at(i));
    }
    for (size_t i = 0; i < figures.shares.size(); ++i) {
        const auto& share = figures.shares.at(i);
        packed.shares.at(i) =
            share ? static_cast<uint16_t>(std::min<uint64_t>(share->count(), k_unknown - 1))
                  : k_unknown;
    }
}

template <size_t Count>
std::vector<ChartPoint> Steps<Count>::points() const {
    std::vector<ChartPoint> points;
    if (open_ < 0) {
        return points;
    }
    for (int64_t step = std::max<int64_t>(0, open_ - static_cast<int64_t>(Count) + 1); step < open_;
         ++step) {
        const Packed& packed = ring_.at(static_cast<size_t>(step) % Count);
        ChartPoint point{Time(step_ * (step + 1)), {}};
        for (size_t i = 0; i < packed.sizes.size(); ++i) {
            point.figures.sizes.at(i) = packed.sizes.at(i).unpack();
        }
        for (size_t i = 0; i < packed.shares.size(); ++i) {
            if (packed.shares.at(i) != k_unknown) {
                point.figures.shares.at(i) = BasisPoints(packed.shares.at(i));
            }
        }
        if (point.figures != ChartFigures{}) {
            points.push_back(point);
        }
    }
    points.push_back(ChartPoint{last_, current()});
    return points;
}

void Series::add(const ChartFigures& seen, Time now) {
    seconds_.add(seen, now);
    minutes_.add(seen, now);
    day_.add(seen, now);
}

std::vector<ChartPoint> Series::points(ChartRange range) const {
    switch (range) {
        case ChartRange::five_minutes:
            return seconds_.points();
        case ChartRange::hour:
            return minutes_.points();
        case ChartRange::day:
            break;
    }
    return day_.points();
}

}  // namespace acma::host
