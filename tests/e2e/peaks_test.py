# SPDX-License-Identifier: Apache-2.0
"""An overcommitted host with real guests: what bench `peaks` measures, smaller."""

from tests.bench import peaks
from tests.bench.subject import Programs

from .harness import case, expect


@case(each={"kernel": ["6.12"]}, full_each=["7.3"], timeout_s=600)
def three_guests_reach_their_peaks_in_turn_where_two_fit_with_all_of_their_memory(kernel):
    setup = peaks.Setup(kernel, ram_mib=640, file_mib=80, held_mib=360, freed_mib=20, hold_s=3, peak_most_s=120)
    with peaks.Host(setup, "ours", Programs()) as host:
        course = peaks.run_peaks(host, print)
        told = host.logs()
    figures = {metric.name: value.number for metric, value in peaks.figures(setup, course).items()}
    print(figures)
    expect(figures["peaks_met"] == peaks.VMS and figures["oom_kills"] == 0, f"{figures} {course.peaks}\n{told}")
    expect(course.overpromised == 0, f"{course.overpromised} decisions promised what is not there\n{told}")
