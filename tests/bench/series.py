# SPDX-License-Identifier: Apache-2.0
"""Figures from samples. Pure: lists of numbers in, figures out; times in microseconds of the guest's CLOCK_MONOTONIC."""

import dataclasses

PAGE = 4096
SECOND = 1_000_000


@dataclasses.dataclass(frozen=True)
class Sample:
    """Cumulative counters at one moment, as acma-sampler printed them."""

    t_us: int
    psi_some_us: int
    swapped_out: int  # pages
    swapped_in: int
    refaulted: int

    @staticmethod
    def of(line):
        return Sample(
            line["t_us"],
            line["psi_some_us"],
            line["pswpout"],
            line["pswpin"],
            line["workingset_refault_anon"] + line["workingset_refault_file"],
        )


def windows(samples, value, span_us=SECOND):
    """[(end, how much `value` grew in a second)] of every window of at least `span_us` that ends with a sample."""
    found = []
    first = 0
    for last in samples:
        while first + 1 < len(samples) and last.t_us - samples[first + 1].t_us >= span_us:
            first += 1
        length = last.t_us - samples[first].t_us
        if length >= span_us:
            found.append((last.t_us, (value(last) - value(samples[first])) * SECOND / length))
    return found


def page_out_rates(samples):
    """[(end, bytes a second)]: what was really written to swap, over windows of one second."""
    return [(end, pages * PAGE) for end, pages in windows(samples, lambda sample: sample.swapped_out)]


def psi_shares(samples):
    """[(end, share of the second before in which some task stalled on memory)]"""
    return [(end, stalled / SECOND) for end, stalled in windows(samples, lambda sample: sample.psi_some_us)]


def highest(points, start_us, end_us=None):
    """The highest value of the windows that end after `start_us` and not after `end_us`; 0 without any."""
    return max((value for end, value in points if end > start_us and (end_us is None or end <= end_us)), default=0)


def typical(points, start_us):
    """The median of the windows in which there was something to do: a tenth of the highest, or more."""
    least = highest(points, start_us) / 10
    return median([value for end, value in points if end > start_us and value >= least] or [0])


def first_at_least(points, wanted, start_us):
    """The end of the first window after `start_us` with at least `wanted`, or None."""
    return next((end for end, value in points if end > start_us and value >= wanted), None)


def last_at_least(points, wanted, start_us):
    return next((end for end, value in reversed(points) if end > start_us and value >= wanted), None)


def settled_at(points, limit, start):
    """The time of the first point from which on no value is above `limit`; None when the last one is."""
    since = None
    for when, value in points:
        if when < start:
            continue
        if value > limit:
            since = None
        elif since is None:
            since = when
    return since


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        raise ValueError("no values")
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
