// SPDX-License-Identifier: Apache-2.0
// How cold is a block? From what DAMON saw: moving memory that is in use costs its users more.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/base/units.h"
#include "engine/damon/snapshot.h"

namespace acma::scaling {

// A default one knows nothing.
class Coldness {
  public:
    Coldness() = default;
    explicit Coldness(damon::Snapshot snapshot);

    // How long nothing was accessed in any part of the block (number: physical address / 2 MiB);
    // zero: something is. None where DAMON did not look: the kernel's own, or free.
    [[nodiscard]] std::optional<Micros> idle(uint64_t block) const;

    // At most `nr` of a window's blocks `bits`: the coldest. What is not known comes after what is
    // cold and before what is in use; of equally cold ones the highest.
    [[nodiscard]] uint64_t coldest(uint64_t window, uint64_t bits, uint64_t nr) const;

  private:
    std::vector<damon::SnapshotRegion> regions_;  // by address
};

}  // namespace acma::scaling
