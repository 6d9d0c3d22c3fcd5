# SPDX-License-Identifier: Apache-2.0
"""The run as a picture, drawn by gnuplot: one panel a VM, host bytes against what its workload needed."""

import os
import subprocess

MIB = 1 << 20

_HEAD = """
set terminal pngcairo size 1000,{height} font ',10'
set output '{output}'
set multiplot layout {panels},1 title 'Host bytes of the VMs follow what their workloads need'
set xrange [0:{seconds}]
set yrange [0:{top}]
set ylabel 'MiB'
set grid
set key outside right top
set style fill solid 0.4 noborder
"""
_PANEL = """
set title '{name}'
set xlabel '{xlabel}'
plot '{data}.host' using 1:2 with filledcurves y1=0 lc rgb '#3b75af' title 'host bytes', \\
     '{data}.need' using 1:2 with steps lw 2 lc rgb '#c8553d' title 'needed', \\
     {ram} with lines dashtype 2 lc rgb '#555555' title 'RAM (static VM)'
"""


def _write(path, rows):
    with open(path, "w", encoding="ascii") as file:
        file.write("".join(f"{x:.3f} {y / MIB:.3f}\n" for x, y in rows))


def draw(records, seconds, directory, output):
    """Writes the PNG `output`; data and script go to `directory`. Raises OSError or CalledProcessError."""
    script = _HEAD.format(
        output=output,
        height=330 * len(records),
        panels=len(records),
        seconds=seconds,
        top=max(record.ram_bytes for record in records) // MIB * 21 // 20,
    )
    for number, record in enumerate(records):
        data = os.path.join(directory, record.name)
        _write(data + ".host", record.host)
        needs = [(max(0.0, start), phase.need_bytes) for start, phase in zip(record.starts(), record.phases)]
        _write(data + ".need", needs + [(seconds, record.need_bytes)])
        last = number == len(records) - 1
        script += _PANEL.format(name=record.name, data=data, ram=record.ram_bytes // MIB, xlabel="seconds" if last else "")
    path = os.path.join(directory, "plot.gp")
    with open(path, "w", encoding="ascii") as file:
        file.write(script)
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    subprocess.run(["gnuplot", path], check=True, capture_output=True, text=True, timeout=60)
