// SPDX-License-Identifier: Apache-2.0
// The operator's page: every VM's bounds, size, grant, pressure and the reason of its last change,
// live. It only reads. Text of guests and domains is set as text, never as markup; the server's
// policy (trusted-types) would refuse anything else.

import { clock, forgetColours } from "./chart.js";
import { fetchDetail, paintDetail, renderDetail } from "./detail.js";
import { $, age, element, setAttribute, setText } from "./dom.js";
import { paintHost, renderHost, renderReservations } from "./host.js";
import { RANGES, addLive, choose, fetchHistories, forgetGone, get, hostPoint, isOver, now, pollMs, state, vmPoint } from "./model.js";
import { focusRow, moveTo, paintRows, renderChips, renderHead, renderRows, rowsOnScreen, visible } from "./rows.js";

function paint() {
  paintRows();
  paintDetail();
  paintHost();
}

function render() {
  choose();
  renderChips();
  renderHead(sortBy);
  renderRows();
  paint();
}

// Of what can be seen; again where the operator chose another range meanwhile.
async function refreshHistories() {
  const range = state.range;
  const wanted = visible().map((vm) => vm.uuid);
  if (state.selected) wanted.unshift(state.selected);
  if (await fetchHistories(wanted)) paint();
  if (range !== state.range) refreshHistories();
}

function select(uuid, focus) {
  state.selected = uuid;
  state.why = state.agent = undefined;
  history.replaceState(null, "", uuid ? `#vm=${encodeURIComponent(uuid)}` : location.pathname);
  $("detail").hidden = !uuid;
  document.body.classList.toggle("with-detail", Boolean(uuid));
  if (uuid) {
    renderDetail();
    fetchDetail();
    refreshHistories();
    if (focus) $("detail-name").focus();
  }
  render();
}

function close() {
  const uuid = state.selected;
  select(undefined);
  focusRow(uuid);
}

function sortBy(id) {
  state.down = state.sort === id ? !state.down : id !== "name";
  state.sort = id;
  render();
}
let painting = false;
function soon() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    renderRows();
    paint();
  });
}

function tellConnection() {
  const failing = state.failing, node = $("connection");
  setText(node, failing ? `no answer for ${age(Date.now() - state.answered)}: what is shown is old` : `live · ${clock(now())}`);
  setAttribute(node, "data-state", failing ? "lost" : "live");
}
let beat = 0;
async function poll() {
  try {
    const [list, reservations] = await Promise.all([get("/v1/vms"), beat++ % 3 === 0 ? get("/v1/reservations") : undefined]);
    state.vms = list.vms;
    state.host = list.host;
    if (state.failing) setText($("announce"), "The controller answers again.");
    state.failing = false;
    state.answered = Date.now();
    const t = now();
    addLive("", hostPoint(list.host, list.vms, t));
    forgetGone();
    for (const vm of list.vms) addLive(vm.uuid, vmPoint(vm, t));
    document.title = `${list.vms.some(isOver) || !list.host.libvirt_connected ? "● " : ""}ACMA ${location.hostname}`;
    renderHost();
    if (reservations) renderReservations(reservations);
    render();
    renderDetail();
    refreshHistories();
    fetchDetail();
    $("connection").title = `acma-controller ${list.controller_version}`;
  } catch (error) {
    if (!state.failing) setText($("announce"), "The controller does not answer.");
    state.failing = true;
    $("connection").title = String(error.message ?? error);
  }
  tellConnection();
}

// One request at a time, and none while nobody looks.
async function live() {
  for (;;) {
    const start = Date.now();
    if (!document.hidden) await poll();
    await new Promise((done) => setTimeout(done, Math.max(500, pollMs() - (Date.now() - start))));
  }
}

// ---- input -----------------------------------------------------------------------------------

function go(index) {
  const uuid = moveTo(index);
  if (state.selected && uuid) select(uuid);
}

$("rows").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row) select(row.dataset.uuid === state.selected ? undefined : row.dataset.uuid);
});
$("rows").addEventListener("keydown", (event) => {
  const uuid = event.target.closest(".row")?.dataset.uuid, at = state.shown.findIndex((vm) => vm.uuid === uuid);
  const page = rowsOnScreen();
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: state.shown.length - 1 }[event.key];
  if (to !== undefined) go(to);
  else if (event.key === "Enter" || event.key === " ") select(uuid, true);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.selected) close();
  else if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "ArrowDown" && event.target === $("filter")) {
    event.preventDefault();
    go(0);
  }
});
$("filter").addEventListener("input", (event) => {
  state.filter = event.target.value.trim();
  render();
  refreshHistories();
  setText($("announce"), `${state.shown.length} VMs`);
});
$("chips").addEventListener("click", (event) => {
  if (!event.target.dataset.chip) return;
  state.chip = event.target.dataset.chip === state.chip ? "all" : event.target.dataset.chip;
  render();
  refreshHistories();
  setText($("announce"), `${state.shown.length} VMs`);
});
for (const [range, [, label]] of Object.entries(RANGES)) {
  $("ranges").append(element("button", { type: "button", class: "chip", "aria-pressed": String(range === state.range), onclick: (event) => {
    state.range = range;
    for (const button of $("ranges").children) setAttribute(button, "aria-pressed", String(button === event.target));
    paint();
    refreshHistories();
  } }, label));
}
$("close").addEventListener("click", close);

let settled;
addEventListener("scroll", () => {
  soon();
  clearTimeout(settled);
  settled = setTimeout(refreshHistories, 150);
}, { passive: true });
addEventListener("resize", soon);
addEventListener("hashchange", () => {
  const uuid = new URLSearchParams(location.hash.slice(1)).get("vm") ?? undefined;
  if (uuid !== state.selected) select(uuid);
});
document.addEventListener("visibilitychange", () => document.hidden || poll());

const THEMES = ["auto", "light", "dark"];
function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  setText($("theme"), `Theme: ${theme}`);
  forgetColours();
  soon();
  try {
    localStorage.setItem("theme", theme);
  } catch { /* it may be forbidden; then it is auto the next time */ }
}

function savedTheme() {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem("theme")) ?? "auto";
  } catch {
    return "auto";
  }
}
$("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3]));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  forgetColours();
  soon();
});

setTheme(savedTheme());
setText($("where"), location.hostname);
renderHead(sortBy);
const linked = new URLSearchParams(location.hash.slice(1)).get("vm");
if (linked) select(linked);
live();
setInterval(tellConnection, 1000);
