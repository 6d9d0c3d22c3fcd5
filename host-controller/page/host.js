// SPDX-License-Identifier: Apache-2.0
// The host: what is promised, reserved and used of its budget.

import { bytes, clock, draw, explore, percent } from "./chart.js";
import { $, age, element, figures, place, setAttribute, setText } from "./dom.js";
import { RANGES, historyOf, isOver, known, now, state } from "./model.js";

let cursor;

export function renderHost() {
  const { host, vms } = state, sum = (of) => vms.reduce((total, vm) => total + (of(vm) ?? 0), 0);
  const used = sum((vm) => vm.host_bytes + vm.qemu_own_bytes), promised = host.granted_bytes + host.reserved_bytes;
  const whole = Math.max(host.budget_bytes, promised), free = host.budget_bytes - promised;
  const [granted, reserved, usedBar] = $("budget-bar").children;
  place(granted, 0, host.granted_bytes, whole);
  place(reserved, host.granted_bytes, promised, whole);
  place(usedBar, 0, used, whole);
  setText($("budget-text"), `${bytes(host.granted_bytes)} granted of ${bytes(host.budget_bytes)}`);
  setAttribute($("budget-bar"), "aria-label",
    `granted ${bytes(host.granted_bytes)}, reserved ${bytes(host.reserved_bytes)}, budget ${bytes(host.budget_bytes)}, used ${bytes(used)}`);
  const max = sum((vm) => (vm.policy ? Math.min(vm.policy.max_mem_bytes, vm.ram_bytes) : vm.ram_bytes));
  const over = vms.filter(isOver).length, marked = vms.filter((vm) => vm.marks.length).length;
  figures($("budget-figures"), [
    ["Free of the budget", free < 0 ? `−${bytes(-free)}` : bytes(free), free < 0 ? "bad" : ""],
    ["Reserved", bytes(host.reserved_bytes)],
    ["VMs use", bytes(known(used))],
    ["Sum of max-mem", host.budget_bytes ? `${bytes(max)} · ${(max / host.budget_bytes).toFixed(2)} ×` : bytes(max)],
    ["Sum of min-mem", bytes(sum((vm) => vm.policy?.min_mem_bytes))],
    ["Host available", bytes(host.mem_available_bytes), host.mem_available_bytes < host.reserve_bytes / 2 ? "bad" : ""],
    ["Host PSI", percent(host.psi_bp), host.psi_bp > 100 ? "warn" : ""],
    ["VMs", `${vms.length}`],
    ["Over their PSI target", `${over}`, over ? "warn" : ""],
    ["With marks", `${marked}`, marked ? "warn" : ""],
  ]);
  setText($("host-text"), `${bytes(host.mem_total_bytes)}, of which ${bytes(host.reserve_bytes)} is its own`);
  const notices = [];
  if (!host.libvirt_connected) notices.push(["bad", "libvirt is not connected: this is what was known last"]);
  if (host.lacking_bytes > 0) notices.push(["warn", `guaranteed or reserved beyond the budget: ${bytes(host.lacking_bytes)}`]);
  if (host.paused) notices.push(["warn", "paused: nothing is changed"]);
  if (host.dry_run) notices.push(["warn", "dry run: nothing is written"]);
  $("notices").replaceChildren(...notices.map(([tone, text]) => element("span", { "data-tone": tone }, text)));
}

export function renderReservations({ reservations, missing_bytes: missing }) {
  const rest = reservations.map((r) =>
    element("span", { class: "chip" }, `${bytes(r.size_bytes)} `, element("bdi", {}, r.domain ? `for ${r.domain}` : "for anybody"), `, ends in ${age(r.ends_in_us / 1000)}`));
  if (missing > 0) rest.push(element("span", { class: "chip", "data-tone": "warn" }, `${bytes(missing)} of it still to come`));
  $("reservations").replaceChildren(...rest);
}

function hostChart() {
  const { points, gap } = historyOf("");
  const until = Math.max(now(), points.at(-1)?.t ?? 0);
  return {
    from: until - RANGES[state.range][0], until, gap, points, kind: "bytes", axes: true,
    top: Math.max(state.host?.mem_total_bytes ?? 1, 1) * 1.02,
    lines: [
      { field: "budget", colour: "target", dash: [3, 3], width: 1, step: true }, { field: "granted", colour: "grant", dash: [4, 3], step: true },
      { field: "used", colour: "used", fill: 0.18, width: 2 }, { field: "available", colour: "muted", width: 1 },
    ],
  };
}
const hostLine = (p) => `${clock(p.t)}  granted ${bytes(p.granted)} of ${bytes(p.budget)} · VMs use ${bytes(p.used)} · available ${bytes(p.available)} · PSI ${percent(p.psi)}`;

export function paintHost() {
  if (!state.host) return;
  draw($("host-chart"), { ...hostChart(), cursor });
  setAttribute($("host-chart"), "aria-label", `host memory over the last ${RANGES[state.range][1]}; arrow keys read it out`);
  const last = historyOf("").points.at(-1);
  if (cursor === undefined && last) setText($("host-readout"), hostLine(last));
}

explore($("host-chart"), hostChart, (point) => {
  cursor = point?.t;
  if (point) setText($("host-readout"), hostLine(point));
  paintHost();
});
