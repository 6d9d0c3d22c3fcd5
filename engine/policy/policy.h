// SPDX-License-Identifier: Apache-2.0
// Policy: what the operator wants of one VM. The same struct is read from libvirt metadata, from
// acmactl's options and from the wire; text <-> value lives here, in one place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma {

enum class Mode {
    automatic,  // "auto": decide and act
    observe,    // decide and explain, change nothing
    off,        // leave the VM alone
};
[[nodiscard]] std::string_view to_string(Mode mode);
[[nodiscard]] Result<Mode> parse_mode(std::string_view text);

// Bounds of shares: 0 would starve a VM for ever, and above 1,000,000 the weighted split overflows
// what operators can reason about (Proxmox and Xen use the same order of magnitude).
constexpr uint32_t k_default_shares = 1000;
constexpr uint32_t k_max_shares = 1'000'000;

// min_mem and max_mem are in the unit "size" = RAM that the host gave - bytes owned by the shim.
struct Policy {
    Bytes min_mem;
    Bytes max_mem;
    BasisPoints psi{10};  // acceptable share of time in which some task stalls on memory
    uint32_t shares = k_default_shares;
    Mode mode = Mode::automatic;

    bool operator==(const Policy&) const = default;
};

// 64 MiB: below it no Linux guest with an agent survives; refusing is kinder than an OOM kill.
constexpr Bytes k_least_min_mem = 64_MiB;

// Checks min <= max, bounds, 1 bp <= psi <= 10,000 bp. The error names the field and both values.
[[nodiscard]] Status validate(const Policy& policy);

// "512MiB", "4 GiB", "4G", "512M", "100K". A bare number is refused: the unit is never guessed.
[[nodiscard]] Result<Bytes> parse_size(std::string_view text);
// Exact in the largest unit that divides it: "512MiB". parse_size(format_size(x)) == x.
[[nodiscard]] std::string format_size(Bytes size);

// "0.1%", "0.1 %", "1%". At most two decimals (a basis point); 0 and above 100 % are refused.
[[nodiscard]] Result<BasisPoints> parse_psi(std::string_view text);
[[nodiscard]] std::string format_psi(BasisPoints psi);

[[nodiscard]] Result<uint32_t> parse_shares(std::string_view text);

// "min 512 MiB, max 4 GiB, psi 0.10 %, shares 1000, mode auto"
[[nodiscard]] std::string describe(const Policy& policy);

}  // namespace acma
