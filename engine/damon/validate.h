// SPDX-License-Identifier: Apache-2.0
// Everything that the kernel refuses late, ignores silently or crashes on, found before any write.
// On 6.12 a commit of something bad succeeds and ends the kdamond (measured:
// tests/fixtures/damon/6.12*/behaviour.tsv), so what is not found here is found by nobody.
#pragma once

#include "engine/base/result.h"
#include "engine/damon/features.h"
#include "engine/damon/tree.h"

namespace acma::damon {

// DAMON_MIN_REGION: no region is smaller, and all are aligned to it.
constexpr Bytes k_min_region{4096};

// The first problem, as "kdamonds/0/.../min is 2; DAMON needs at least 3". Features are checked by
// plan(), which names what is missing; here only where a setting would have no effect.
[[nodiscard]] Status validate(const Kdamonds& desired, const Features& features);

}  // namespace acma::damon
