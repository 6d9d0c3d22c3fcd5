// SPDX-License-Identifier: GPL-2.0-only
#include "map.h"

/**
 * acma_bits() - bits @first to @first + @nr - 1
 * @first: 0 to 63
 * @nr: bits above 63 are left out
 *
 * Return: the mask
 */
u64 acma_bits(unsigned int first, unsigned int nr)
{
	u64 bits = nr >= 64 ? ~0ULL : (1ULL << nr) - 1;

	return first >= 64 ? 0 : bits << first;
}

/**
 * acma_count() - how many bits are set
 * @bits: a window's
 *
 * Return: 0 to 64
 */
unsigned int acma_count(u64 bits)
{
	return hweight64(bits);
}

/**
 * acma_highest() - the highest @nr of @bits
 * @bits: a window's
 * @nr: all of them, if there are not more
 *
 * Return: a subset of @bits
 */
u64 acma_highest(u64 bits, unsigned int nr)
{
	while (acma_count(bits) > nr)
		bits &= bits - 1;	/* clears the lowest */
	return bits;
}

/**
 * acma_lowest() - the lowest @nr of @bits
 * @bits: a window's
 * @nr: all of them, if there are not more
 *
 * Return: a subset of @bits
 */
u64 acma_lowest(u64 bits, unsigned int nr)
{
	unsigned int all = acma_count(bits);

	return nr < all ? bits & ~acma_highest(bits, all - nr) : bits;
}

/**
 * acma_map_present() - this is memory that can be taken
 * @map: the map
 * @window: below its nr_windows
 * @bits: more of the window's blocks
 */
void acma_map_present(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];

	map->nr_present += acma_count(bits & ~words->present);
	words->present |= bits;
}

/**
 * acma_map_absent() - this is memory no more; what of it is owned is forgotten
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks
 *
 * Return: what was owned of it
 */
u64 acma_map_absent(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];
	u64 owned = words->owned & bits;

	map->nr_present -= acma_count(words->present & bits);
	map->nr_owned -= acma_count(owned);
	map->nr_pending -= acma_count(words->pending & bits);
	map->nr_unmanaged -= acma_count(words->unmanaged & bits);
	words->present &= ~bits;
	words->owned &= ~bits;
	words->pending &= ~bits;
	words->unmanaged &= ~bits;
	words->leaving &= ~bits;
	words->leaving_unmanaged &= ~bits;
	return owned;
}

/**
 * acma_map_own() - these are taken now, and the host has yet to confirm it
 * @map: the map
 * @window: below its nr_windows
 * @bits: present; what is owned already only becomes pending again
 */
void acma_map_own(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];

	map->nr_owned += acma_count(bits & ~words->owned);
	map->nr_pending += acma_count(bits & ~words->pending);
	words->owned |= bits;
	words->pending |= bits;
}

/**
 * acma_map_confirm() - the host has confirmed these
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks
 */
void acma_map_confirm(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];

	map->nr_pending -= acma_count(words->pending & bits);
	words->pending &= ~bits;
}

/**
 * acma_map_release() - these are to be freed; what is pending is not
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks
 * @unmanaged: out: those of the returned ones that were unmanaged
 *
 * Return: those that were owned, and are the caller's to free now
 */
u64 acma_map_release(struct acma_map *map, u64 window, u64 bits, u64 *unmanaged)
{
	struct acma_words *words = &map->window[window];
	u64 freed = words->owned & ~words->pending & bits;

	*unmanaged = words->unmanaged & freed;
	map->nr_owned -= acma_count(freed);
	map->nr_unmanaged -= acma_count(*unmanaged);
	words->owned &= ~freed;
	words->unmanaged &= ~freed;
	return freed;
}

/**
 * acma_map_unmanage() - these leave the count of managed pages
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks
 *
 * Return: those that are owned and were managed
 */
u64 acma_map_unmanage(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];
	u64 changed = words->owned & ~words->unmanaged & bits;

	words->unmanaged |= changed;
	map->nr_unmanaged += acma_count(changed);
	return changed;
}

/**
 * acma_map_manage() - these are counted as managed pages again
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks
 *
 * Return: those that were unmanaged
 */
u64 acma_map_manage(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];
	u64 changed = words->unmanaged & bits;

	words->unmanaged &= ~changed;
	map->nr_unmanaged -= acma_count(changed);
	return changed;
}

/**
 * acma_map_leave() - these are going offline: nobody takes or gives them now
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks; none is pending
 * @unmanaged: out: those of the returned ones that were unmanaged
 *
 * Return: those that were owned
 */
u64 acma_map_leave(struct acma_map *map, u64 window, u64 bits, u64 *unmanaged)
{
	struct acma_words *words = &map->window[window];
	u64 leaving = words->owned & bits;

	*unmanaged = words->unmanaged & bits;
	acma_map_absent(map, window, bits);
	words->leaving |= leaving;
	words->leaving_unmanaged |= *unmanaged;
	return leaving;
}

/**
 * acma_map_stay() - these did not go offline after all
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks
 *
 * What was owned of them is owned again. That all of them are present has to be
 * looked up by the caller.
 */
void acma_map_stay(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];
	u64 staying = words->leaving & bits;
	u64 unmanaged = words->leaving_unmanaged & bits;

	words->leaving &= ~staying;
	words->leaving_unmanaged &= ~unmanaged;
	acma_map_present(map, window, staying);
	acma_map_own(map, window, staying);
	acma_map_confirm(map, window, staying);
	acma_map_unmanage(map, window, unmanaged);
}

/**
 * acma_map_removed() - these went offline to be removed
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks
 *
 * What was owned of them stays so towards the host.
 */
void acma_map_removed(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];
	u64 leaving = words->leaving & bits;

	map->nr_released += acma_count(leaving & ~words->released);
	words->released |= leaving;
	words->leaving &= ~bits;
	words->leaving_unmanaged &= ~bits;
}

/**
 * acma_map_added() - these are there again; what they are now is for the caller to say
 * @map: the map
 * @window: below its nr_windows
 * @bits: the window's blocks
 */
void acma_map_added(struct acma_map *map, u64 window, u64 bits)
{
	struct acma_words *words = &map->window[window];

	map->nr_released -= acma_count(words->released & bits);
	words->released &= ~bits;
}

/**
 * acma_map_restore_from() - which memory to add next
 * @map: the map
 *
 * Return: the number of the lowest window that is released, or ACMA_NO_WINDOW
 */
u64 acma_map_restore_from(const struct acma_map *map)
{
	u64 i;

	for (i = 0; map->nr_released && i < map->nr_windows; i++) {
		if (map->window[i].released)
			return i;
	}
	return ACMA_NO_WINDOW;
}

/**
 * acma_map_take_from() - where to take next: the highest window not fully taken
 * @map: the map
 * @below: only windows below this one
 *
 * Return: its number, or ACMA_NO_WINDOW
 */
u64 acma_map_take_from(const struct acma_map *map, u64 below)
{
	u64 i = below < map->nr_windows ? below : map->nr_windows;

	while (i-- > 0) {
		if (map->window[i].present & ~map->window[i].owned)
			return i;
	}
	return ACMA_NO_WINDOW;
}

/**
 * acma_map_give_from() - where to give back next
 * @map: the map
 *
 * The lowest window that is partly taken; where there is none, the lowest that
 * is taken. Windows that have nothing but pending blocks do not count.
 *
 * Return: its number, or ACMA_NO_WINDOW
 */
u64 acma_map_give_from(const struct acma_map *map)
{
	u64 whole = ACMA_NO_WINDOW;
	u64 i;

	if (map->nr_owned == map->nr_pending)
		return ACMA_NO_WINDOW;
	for (i = 0; i < map->nr_windows; i++) {
		const struct acma_words *words = &map->window[i];

		if (!(words->owned & ~words->pending))
			continue;
		if (words->owned != words->present)
			return i;
		if (whole == ACMA_NO_WINDOW)
			whole = i;
	}
	return whole;
}

/**
 * acma_runs() - adjacent blocks as runs, the lowest first
 * @first: number of the window's first block
 * @bits: the window's blocks
 * @runs: out
 * @most: how many fit there; 32 always do
 *
 * Return: how many there are
 */
unsigned int acma_runs(u64 first, u64 bits, struct acma_run *runs, unsigned int most)
{
	unsigned int nr = 0;

	while (bits && nr < most) {
		unsigned int start = __builtin_ctzll(bits);
		u64 shifted = bits >> start;
		unsigned int length = ~shifted ? __builtin_ctzll(~shifted) : 64;

		runs[nr].first = first + start;
		runs[nr].nr = length;
		nr++;
		bits &= ~acma_bits(start, length);
	}
	return nr;
}

/**
 * acma_pieces() - the same, cut so that each has a power of two blocks and is
 * aligned to it within the window
 * @first: number of the window's first block
 * @bits: the window's blocks
 * @pieces: out
 * @most: how many fit there; 64 always do
 *
 * Return: how many there are
 */
unsigned int acma_pieces(u64 first, u64 bits, struct acma_run *pieces, unsigned int most)
{
	unsigned int nr = 0;

	while (bits && nr < most) {
		unsigned int start = __builtin_ctzll(bits);
		unsigned int size = 1;

		while (size < 64 && start % (2 * size) == 0 &&
		       (bits & acma_bits(start, 2 * size)) == acma_bits(start, 2 * size))
			size *= 2;
		pieces[nr].first = first + start;
		pieces[nr].nr = size;
		nr++;
		bits &= ~acma_bits(start, size);
	}
	return nr;
}
