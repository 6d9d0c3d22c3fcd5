// SPDX-License-Identifier: Apache-2.0
// The table: of all VMs that are to be shown only the rows that can be seen are there.

import { bytes, draw, percent } from "./chart.js";
import { $, age, element, place, setAttribute, setText } from "./dom.js";
import { RANGES, STATES, chartsOf, isOver, known, now, psiOf, reasonOf, sizeOf, state } from "./model.js";

const ROW_PX = 76;
const COLUMNS = [
  ["name", "VM"], ["size", "Memory"], ["host", "Over time, by what it costs"], ["psi", "Pressure (PSI)"], ["change", "Last change, and why"],
];
const rows = new Map(); // uuid -> the parts of its row; only of rows that can be seen

export function visible() {
  const top = -$("rows").getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / ROW_PX) - 3);
  return state.shown.slice(first, Math.max(0, Math.ceil((top + window.innerHeight) / ROW_PX) + 3));
}

function makeRow() {
  const part = {
    name: element("b"), badge: element("span", { class: "badge" }), marks: element("span", { class: "marks" }),
    bar: element("div", { class: "bar", role: "img" }, ...["band", "size", "used", "grant"].map((kind) => element("i", { class: kind }))),
    sizes: element("span", { class: "numbers" }), bounds: element("span", { class: "faint" }),
    chart: element("canvas", { role: "img" }), psiChart: element("canvas", { role: "img" }),
    psi: element("span", { class: "numbers" }), reason: element("span", { class: "reason" }), when: element("span", { class: "faint" }),
  };
  const cell = (column, ...children) => element("div", { role: "gridcell", "aria-colindex": String(column), class: `cell c${column}` }, ...children);
  part.row = element("div", { role: "row", class: "row", tabIndex: -1 },
    cell(1, element("bdi", {}, part.name), element("div", { class: "line" }, part.badge, part.marks)),
    cell(2, element("div", { class: "line" }, part.sizes), part.bar, part.bounds), cell(3, part.chart),
    cell(4, part.psi, part.psiChart), cell(5, part.reason, part.when));
  return part;
}

function fillRow(part, vm, index) {
  part.uuid = vm.uuid;
  part.row.dataset.uuid = vm.uuid;
  part.row.style.transform = `translateY(${index * ROW_PX}px)`;
  setAttribute(part.row, "aria-rowindex", String(index + 2));
  setAttribute(part.row, "aria-selected", String(vm.uuid === state.selected));
  setText(part.name, vm.name);
  part.name.title = `${vm.name}\n${vm.uuid}`;
  setText(part.badge, vm.state);
  setAttribute(part.badge, "data-state", vm.state);
  setText(part.marks, vm.marks.map((mark) => mark.what).join(", "));
  part.marks.title = vm.marks.map((mark) => `${mark.what}: ${mark.message}`).join("\n");

  const size = sizeOf(vm), grant = vm.balloon_target_bytes, host = known(vm.host_bytes), { min_mem_bytes: min, max_mem_bytes: max } = vm.policy ?? {};
  setText(part.sizes, `${bytes(size)}  of ${bytes(grant)} granted`);
  setText(part.bounds, vm.policy ? `${bytes(min)} – ${bytes(max)} · costs ${bytes(host)}` : `RAM ${bytes(vm.ram_bytes)}, no policy · costs ${bytes(host)}`);
  const [band, sizeBar, used, grantBar] = part.bar.children;
  place(band, min, max && Math.min(max, vm.ram_bytes), vm.ram_bytes);
  place(sizeBar, 0, size, vm.ram_bytes);
  place(used, 0, host, vm.ram_bytes);
  place(grantBar, grant, grant, vm.ram_bytes);
  setAttribute(part.bar, "aria-label", `size ${bytes(size)}, grant ${bytes(grant)}, host bytes ${bytes(host)}, RAM ${bytes(vm.ram_bytes)}`);

  const psi = psiOf(vm), target = vm.policy?.psi_bp;
  setText(part.psi, target === undefined ? percent(psi) : `${percent(psi)}  / ${percent(target)}`);
  part.psi.classList.toggle("over", isOver(vm));
  setText(part.reason, reasonOf(vm));
  part.reason.title = reasonOf(vm);
  setText(part.when, vm.last_change ? `${vm.last_change} · ${age(now() - vm.last_change_time_us / 1000)} ago` : "");
}

export function renderRows() {
  const box = $("rows"), seen = visible();
  box.style.height = `${state.shown.length * ROW_PX}px`;
  setAttribute($("table"), "aria-rowcount", String(state.shown.length + 1));
  const first = state.shown.indexOf(seen[0]);
  const wanted = new Set(seen.map((vm) => vm.uuid));
  const focused = document.activeElement?.closest?.("#rows .row")?.dataset.uuid;
  for (const [uuid, part] of rows) {
    if (!wanted.has(uuid) && uuid !== focused) {
      part.row.remove();
      rows.delete(uuid);
    }
  }
  seen.forEach((vm, i) => {
    let part = rows.get(vm.uuid);
    if (!part) {
      rows.set(vm.uuid, (part = makeRow()));
      box.append(part.row);
    }
    fillRow(part, vm, first + i);
  });
  if (focused && !state.shown.some((vm) => vm.uuid === focused)) {
    rows.get(focused)?.row.remove();
    rows.delete(focused);
  }
  const tabbed = focused ?? (wanted.has(state.selected) ? state.selected : seen.find((_, i) => (first + i) * ROW_PX >= -box.getBoundingClientRect().top)?.uuid ?? seen[0]?.uuid);
  for (const [uuid, part] of rows) part.row.tabIndex = uuid === tabbed ? 0 : -1;
  $("empty").hidden = state.shown.length > 0 || !state.host;
  setText($("empty"), state.vms.length ? "No VM matches the filter." : "No VM is running on this host.");
}

export function paintRows() {
  for (const vm of visible()) {
    const part = rows.get(vm.uuid);
    if (!part) continue;
    const { memory, psi } = chartsOf(vm);
    draw(part.chart, memory);
    draw(part.psiChart, psi);
    setAttribute(part.chart, "aria-label", `memory of the last ${RANGES[state.range][1]}`);
    setAttribute(part.psiChart, "aria-label", `pressure of the last ${RANGES[state.range][1]}`);
  }
}

export function renderChips() {
  const count = (test) => state.vms.filter(test).length;
  const chips = [["all", "all", state.vms.length], ...STATES.map((s) => [s, s, count((vm) => vm.state === s)]),
    ["marks", "with marks", count((vm) => vm.marks.length)], ["over", "over PSI", count(isOver)]];
  const box = $("chips");
  chips.forEach(([id, label, number], i) => {
    const button = box.children[i] ?? box.appendChild(element("button", { type: "button", class: "chip" }));
    button.dataset.chip = id;
    setText(button, `${label} ${number}`);
    setAttribute(button, "aria-pressed", String(state.chip === id));
  });
}

export function renderHead(sortBy) {
  COLUMNS.forEach(([id, label], i) => {
    let cell = $("head").children[i];
    if (!cell) {
      cell = element("div", { role: "columnheader", "aria-colindex": String(i + 1), class: `cell c${i + 1}` });
      cell.append(element("button", { type: "button", onclick: () => sortBy(id) }));
      $("head").append(cell);
    }
    const on = state.sort === id;
    setAttribute(cell, "aria-sort", on ? (state.down ? "descending" : "ascending") : "none");
    setText(cell.firstChild, `${label} ${on ? (state.down ? "▾" : "▴") : ""}`);
  });
}

// To the row at this place; the UUID of its VM.
export function moveTo(index) {
  const vm = state.shown[Math.min(state.shown.length - 1, Math.max(0, index))];
  if (!vm) return undefined;
  const at = state.shown.indexOf(vm), box = $("rows").getBoundingClientRect(), head = 150;
  const top = box.top + at * ROW_PX;
  if (top < head) window.scrollBy(0, top - head);
  else if (top + ROW_PX > window.innerHeight) window.scrollBy(0, top + ROW_PX - window.innerHeight);
  renderRows();
  rows.get(vm.uuid)?.row.focus({ preventScroll: true });
  return vm.uuid;
}

export const focusRow = (uuid) => rows.get(uuid)?.row.focus();
export const rowsOnScreen = () => Math.max(1, Math.floor(window.innerHeight / ROW_PX) - 3);
