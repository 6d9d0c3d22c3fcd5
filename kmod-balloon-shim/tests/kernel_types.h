/* SPDX-License-Identifier: GPL-2.0-only */
/* What linux/types.h and linux/bitops.h give the files that also build in user space. */
#ifndef ACMA_TESTS_KERNEL_TYPES_H
#define ACMA_TESTS_KERNEL_TYPES_H

#include <stdbool.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
#define hweight64(bits) __builtin_popcountll(bits)

#endif
