// SPDX-License-Identifier: Apache-2.0
// Where a VM stands among the others now: why it may have what it has, what is missing to what it
// should have, who has to give that up and who comes first. For `acmactl explain`. Pure.
#pragma once

#include <cstddef>

#include "engine/arbiter/record.h"
#include "proto/controller_api.h"

namespace acma::host {

// Of the VM in this place of the record.
[[nodiscard]] proto::ExplainEntry standing_of(const arbiter::Record& record, size_t vm);

}  // namespace acma::host
