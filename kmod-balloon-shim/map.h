/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which blocks are owned, and which come next. No kernel calls: this also
 * builds in user space, where it is tested (tests/).
 *
 * Callers serialise all access to one map.
 */
#ifndef ACMA_MAP_H
#define ACMA_MAP_H

#ifdef __KERNEL__
#include <linux/bitops.h>
#include <linux/types.h>
#else
#include "tests/kernel_types.h"

#endif

#define ACMA_WINDOW_SHIFT 6	/* 64 blocks: ACMA_WINDOW_BLOCKS */
#define ACMA_NO_WINDOW (~0ULL)

/**
 * struct acma_words - one window: bit n is its block n
 * @present: memory in use by the kernel that can be taken at all
 * @owned: taken
 * @pending: owned, and the host has not confirmed it yet
 * @unmanaged: owned, and out of the kernel's count of managed pages
 * @leaving: was owned, and is going offline; in none of the others
 * @leaving_unmanaged: of these, those that were unmanaged
 * @released: was owned, and its memory was removed; in none of the others
 */
struct acma_words {
	u64 present;
	u64 owned;
	u64 pending;
	u64 unmanaged;
	u64 leaving;
	u64 leaving_unmanaged;
	u64 released;
};

/**
 * struct acma_map - all windows, from physical address 0 on
 * @nr_windows: how many
 * @window: by number; the map's owner allocates and frees them
 * @nr_present: bits set in all windows; likewise the others
 * @nr_owned: see @nr_present
 * @nr_pending: see @nr_present
 * @nr_unmanaged: see @nr_present
 * @nr_released: see @nr_present
 */
struct acma_map {
	u64 nr_windows;
	struct acma_words *window;
	u64 nr_present;
	u64 nr_owned;
	u64 nr_pending;
	u64 nr_unmanaged;
	u64 nr_released;
};

/**
 * struct acma_run - adjacent blocks
 * @first: block number
 * @nr: how many
 */
struct acma_run {
	u64 first;
	u64 nr;
};

u64 acma_bits(unsigned int first, unsigned int nr);
unsigned int acma_count(u64 bits);
u64 acma_highest(u64 bits, unsigned int nr);
u64 acma_lowest(u64 bits, unsigned int nr);

void acma_map_present(struct acma_map *map, u64 window, u64 bits);
u64 acma_map_absent(struct acma_map *map, u64 window, u64 bits);
void acma_map_own(struct acma_map *map, u64 window, u64 bits);
void acma_map_confirm(struct acma_map *map, u64 window, u64 bits);
u64 acma_map_release(struct acma_map *map, u64 window, u64 bits, u64 *unmanaged);
u64 acma_map_unmanage(struct acma_map *map, u64 window, u64 bits);
u64 acma_map_manage(struct acma_map *map, u64 window, u64 bits);

u64 acma_map_leave(struct acma_map *map, u64 window, u64 bits, u64 *unmanaged);
void acma_map_stay(struct acma_map *map, u64 window, u64 bits);
void acma_map_removed(struct acma_map *map, u64 window, u64 bits);
void acma_map_added(struct acma_map *map, u64 window, u64 bits);
u64 acma_map_restore_from(const struct acma_map *map);

u64 acma_map_take_from(const struct acma_map *map, u64 below);
u64 acma_map_give_from(const struct acma_map *map);

unsigned int acma_runs(u64 first, u64 bits, struct acma_run *runs, unsigned int most);
unsigned int acma_pieces(u64 first, u64 bits, struct acma_run *pieces, unsigned int most);

#endif
