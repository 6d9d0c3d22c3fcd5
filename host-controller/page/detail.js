// SPDX-License-Identifier: Apache-2.0
// One VM: its charts, what its agent says, and why it was changed.

import { bytes, clock, draw, explore, percent } from "./chart.js";
import { $, age, element, figures, setAttribute, setText } from "./dom.js";
import { RANGES, chartsOf, get, isOver, known, psiOf, sizeOf, state } from "./model.js";

let cursor;
const selectedVm = () => state.vms.find((vm) => vm.uuid === state.selected);

export async function fetchDetail() {
  const uuid = state.selected;
  if (!uuid) return;
  const path = `/v1/vms/${encodeURIComponent(uuid)}`;
  try {
    const [detail, why] = await Promise.all([get(path), get(`${path}/explain`)]);
    if (uuid !== state.selected) return;
    state.agent = detail.agent;
    state.why = why.entries;
    renderDetail();
    paintDetail();
  } catch {
    // It may have ended just now; the list tells.
  }
}

export function renderDetail() {
  const vm = selectedVm();
  if (!vm) {
    if (state.selected && state.host) setText($("detail-state"), "not running");
    return;
  }
  setText($("detail-name"), vm.name);
  setText($("detail-state"), vm.state);
  setAttribute($("detail-state"), "data-state", vm.state);
  $("detail-state").className = "badge";
  const policy = vm.policy;
  setText($("detail-policy"), policy
    ? `min-mem ${bytes(policy.min_mem_bytes)} · max-mem ${bytes(policy.max_mem_bytes)} · PSI ${percent(policy.psi_bp)} · shares ${policy.shares} · mode ${policy.mode} · from ${vm.policy_source} · ${vm.uuid}`
    : `no policy · ${vm.uuid}`);
  $("detail-marks").replaceChildren(...vm.marks.map((mark) => element("li", {}, element("b", {}, mark.what), " ", element("bdi", {}, mark.message))));
  figures($("detail-figures"), [
    ["Size", bytes(sizeOf(vm))], ["Grant", bytes(vm.balloon_target_bytes)], ["Balloon actual", bytes(vm.balloon_actual_bytes)],
    ["Host bytes", bytes(known(vm.host_bytes))], ["… swapped", bytes(vm.host_swap_bytes)], ["QEMU's own", bytes(known(vm.qemu_own_bytes))],
    ["PSI", percent(psiOf(vm)), isOver(vm) ? "warn" : ""], ["RAM", bytes(vm.ram_bytes)],
  ]);
  renderAgent(vm);
  const list = $("detail-why"), version = `${vm.uuid} ${state.why?.length} ${state.why?.at(-1)?.time_us}`;
  if (state.why && list.dataset.version !== version) { // else what somebody marks in it would be lost
    list.dataset.version = version;
    list.replaceChildren(...state.why.slice().reverse().map((entry) => {
      const at = new Date(entry.time_us / 1000);
      const numbers = Object.entries(entry.numbers).map(([name, value]) =>
        `${name.replace(/_(bytes|bp|us)$/, "")} ${name.endsWith("_bytes") ? bytes(value) : name.endsWith("_bp") ? percent(value) : name.endsWith("_us") ? age(value / 1000) : value}`);
      return element("li", {}, element("time", { dateTime: at.toISOString(), title: at.toLocaleString() }, clock(at.getTime())),
        element("span", { class: "badge", "data-word": entry.decision }, entry.decision),
        element("span", {}, element("bdi", {}, entry.reason), numbers.length ? element("small", {}, numbers.join(" · ")) : ""));
    }));
  }
}

function renderAgent(vm) {
  const agent = state.agent, status = agent?.status;
  if (!agent) return;
  const lines = [`${agent.connected ? "connected" : "not connected"}${agent.version ? `, version ${agent.version}` : ""}${vm.agent_state ? `, ${vm.agent_state}` : ""}`];
  if (status) {
    lines.push(status.reason);
    lines.push(`working set ${bytes(status.working_set_bytes)} · free ${bytes(status.mem_free_bytes)} of ${bytes(status.mem_total_bytes)} · swap ${bytes(status.swap_total_bytes - status.swap_free_bytes)} of ${bytes(status.swap_total_bytes)} · OOM kills ${status.oom_kills_total}`);
    for (const problem of status.problems) lines.push(`${problem.what}: ${problem.message}`);
  }
  $("detail-agent").replaceChildren(...lines.filter(Boolean).map((line) => element("p", {}, element("bdi", {}, line))));
}

function detailCharts() {
  const vm = selectedVm();
  if (!vm) return undefined;
  const { memory, psi } = chartsOf(vm);
  memory.axes = psi.axes = true;
  memory.marks = (state.why ?? []).filter((e) => /(^|-)(grow|shrink)$/.test(e.decision)).map((e) => ({ t: e.time_us / 1000, up: e.decision.endsWith("grow") }));
  memory.cursor = psi.cursor = cursor;
  return { memory, psi };
}

function memoryLine(p) {
  return `${clock(p.t)}  size ${bytes(p.size)} · grant ${bytes(p.grant)} · host ${bytes(p.host)} · bounds ${bytes(p.min)} – ${bytes(p.max)}`;
}
const psiLine = (p) => `${clock(p.t)}  PSI ${percent(p.psi)} · target ${percent(p.target)}`;

export function paintDetail() {
  const charts = state.selected && detailCharts();
  if (!charts) return;
  draw($("detail-memory"), charts.memory);
  draw($("detail-psi"), charts.psi);
  const last = charts.memory.points.at(-1);
  if (cursor === undefined && last) {
    setText($("memory-readout"), memoryLine(last));
    setText($("psi-readout"), psiLine(last));
  }
  const vm = selectedVm();
  setAttribute($("detail-memory"), "aria-label", `memory of ${vm.name} over the last ${RANGES[state.range][1]}; arrow keys read it out`);
  setAttribute($("detail-psi"), "aria-label", `pressure of ${vm.name} over the last ${RANGES[state.range][1]}; arrow keys read it out`);
}

for (const [canvas, id, line, which] of [["detail-memory", "memory-readout", memoryLine, "memory"], ["detail-psi", "psi-readout", psiLine, "psi"]]) {
  explore($(canvas), () => detailCharts()?.[which], (point) => {
    cursor = point?.t;
    if (point) setText($(id), line(point));
    paintDetail();
  });
}
