# SPDX-License-Identifier: Apache-2.0
"""How soon page-out stops when tasks begin to stall, by the guest's own tracing. The spikes are those of bench `reclaim`."""

from tests.bench import series, stop, trace
from tests.bench.subject import Programs, Setup, Subject

from .harness import case, expect

_MOST_US = 100_000


@case(each={"swap": ["6.12/zram"]}, full_each=["6.12/disk", "7.3/disk", "7.3/zram"], timeout_s=400, alone=True)
def page_out_stops_within_100_ms_of_the_psi_trigger(swap):
    setup = Setup(*swap.split("/"), ram_mib=1024, filled_mib=600, hot_mib=100)
    with Subject(setup, Programs(), "stop") as subject:
        stops = stop.spikes(subject)
    print(stops)
    expect(stops.trials, stops.why_none())
    # The machine may be busy with other things for longer than that, but hardly in most of the spikes.
    typical = series.median([trace.last_begun_us(trial) for trial in stops.trials])
    expect(typical <= _MOST_US, f"page-out still began {typical / 1000:.0f} ms after the trigger: {stops}")
