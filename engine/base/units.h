// SPDX-License-Identifier: Apache-2.0
// Strong types for every number that has a unit. Outside (JSON, config, metrics) the unit is a
// suffix of the name (_bytes, _kib, _bp, _us); inside it is the type. There is no implicit
// conversion. Arithmetic saturates instead of wrapping: a hostile or broken number must not turn
// into a small one.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <limits>
#include <string>

namespace acma {

using Micros = std::chrono::microseconds;
using Millis = std::chrono::milliseconds;
using Seconds = std::chrono::seconds;

// Monotonic time as a value. Decisions get it as an argument; only the edges read a clock
// (CLOCK_MONOTONIC), and tests make it up.
struct MonotonicEpoch {
    using duration = Micros;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<MonotonicEpoch, Micros>;
    static constexpr bool is_steady = true;
};
using Time = MonotonicEpoch::time_point;

namespace detail {
constexpr uint64_t add_saturating(uint64_t a, uint64_t b) {
    uint64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<uint64_t>::max() : sum;
}
constexpr uint64_t sub_saturating(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}
constexpr uint64_t mul_saturating(uint64_t a, uint64_t b) {
    uint64_t product = 0;
    return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<uint64_t>::max() : product;
}
// a * num / den with a 128-bit intermediate; saturates; den 0 counts as 1.
constexpr uint64_t mul_div_saturating(uint64_t a, uint64_t num, uint64_t den) {
    __extension__ using Wide = unsigned __int128;
    const Wide wide = Wide{a} * num / (den == 0 ? 1 : den);
    return wide > std::numeric_limits<uint64_t>::max() ? std::numeric_limits<uint64_t>::max()
                                                       : static_cast<uint64_t>(wide);
}
}  // namespace detail

// An unsigned quantity that only mixes with its own kind.
template <typename Tag>
class Quantity {
  public:
    constexpr Quantity() = default;
    constexpr explicit Quantity(uint64_t count) : count_(count) {}

    [[nodiscard]] constexpr uint64_t count() const { return count_; }
    constexpr auto operator<=>(const Quantity&) const = default;

    constexpr Quantity operator+(Quantity other) const {
        return Quantity(detail::add_saturating(count_, other.count_));
    }
    constexpr Quantity operator-(Quantity other) const {
        return Quantity(detail::sub_saturating(count_, other.count_));
    }
    constexpr Quantity operator*(uint64_t factor) const {
        return Quantity(detail::mul_saturating(count_, factor));
    }
    constexpr Quantity operator/(uint64_t divisor) const {
        return Quantity(count_ / (divisor == 0 ? 1 : divisor));
    }
    constexpr Quantity& operator+=(Quantity other) { return *this = *this + other; }
    constexpr Quantity& operator-=(Quantity other) { return *this = *this - other; }

    [[nodiscard]] static constexpr Quantity max() {
        return Quantity(std::numeric_limits<uint64_t>::max());
    }

  private:
    uint64_t count_ = 0;
};

using Bytes = Quantity<struct BytesTag>;                // the only size used in decisions
using Kibibytes = Quantity<struct KibibytesTag>;        // libvirt's border
using BalloonPages = Quantity<struct BalloonPagesTag>;  // always 4 KiB (virtio), never PAGE_SIZE
using BasisPoints = Quantity<struct BasisPointsTag>;    // 1/10,000 (PSI share, DAMON goals)
using Permil = Quantity<struct PermilTag>;              // 1/1,000 (DAMON watermarks, weights)
using SampleCount = Quantity<struct SampleCountTag>;    // DAMON nr_accesses: samples an aggregation
using AggrIntervals = Quantity<struct AggrIntervalsTag>;  // DAMON age: aggregation intervals

constexpr BasisPoints k_full_bp{10'000};

constexpr Bytes operator""_KiB(unsigned long long n) {
    return Bytes(n) * 1024;
}
constexpr Bytes operator""_MiB(unsigned long long n) {
    return Bytes(n) * 1024 * 1024;
}
constexpr Bytes operator""_GiB(unsigned long long n) {
    return Bytes(n) * 1024 * 1024 * 1024;
}
constexpr BasisPoints operator""_bp(unsigned long long n) {
    return BasisPoints(n);
}

// part / whole in basis points, rounded down; whole 0 gives 0. May exceed 10,000.
template <typename Tag>
constexpr BasisPoints ratio(Quantity<Tag> part, Quantity<Tag> whole) {
    return whole.count() == 0
               ? BasisPoints(0)
               : BasisPoints(detail::mul_div_saturating(part.count(), 10'000, whole.count()));
}
// amount * share, rounded down, saturating.
template <typename Tag>
constexpr Quantity<Tag> scale(Quantity<Tag> amount, BasisPoints share) {
    return Quantity<Tag>(detail::mul_div_saturating(amount.count(), share.count(), 10'000));
}

constexpr Kibibytes to_kib_floor(Bytes bytes) {
    return Kibibytes(bytes.count() / 1024);
}
constexpr Kibibytes to_kib_ceil(Bytes bytes) {
    return Kibibytes(bytes.count() / 1024 + (bytes.count() % 1024 != 0 ? 1 : 0));
}
constexpr Bytes to_bytes(Kibibytes kib) {
    return Bytes(kib.count()) * 1024;
}
constexpr Bytes to_bytes(BalloonPages pages) {
    return Bytes(pages.count()) * 4096;
}

constexpr Bytes k_block{2 * 1024 * 1024};           // block: what scale-down takes at once
constexpr Bytes k_memory_block{128 * 1024 * 1024};  // memory block: as in sysfs

// "6.0 GiB", "512 MiB", "17 B": for people. Machines get integers with a unit in the name.
[[nodiscard]] std::string human(Bytes bytes);
// "0.10 %" for 10 bp.
[[nodiscard]] std::string human(BasisPoints share);
// "1.5 s", "20 ms", "7 us".
[[nodiscard]] std::string human(Micros duration);

}  // namespace acma
