// SPDX-License-Identifier: Apache-2.0
// What the page knows: the last list, what the operator chose, and the histories that charts are made of.

// How often it asks: an answer about 1,000 VMs costs the controller 30 ms.
export const pollMs = () => Math.max(POLL_MS, state.vms.length * 3);
const POLL_MS = 2000, AT_ONCE = 64;
export const RANGES = { "5m": [300e3, "5 min"], "1h": [3600e3, "1 h"], "24h": [24 * 3600e3, "24 h"] };
const FRESH_MS = { "5m": 60e3, "1h": 60e3, "24h": 600e3 }; // of a history; live points continue it
export const STATES = ["managed", "observed", "marked", "off", "unmanaged"];

export const state = {
  vms: [], host: undefined, shown: [], filter: "", chip: "all", sort: "name", down: false, range: "5m",
  selected: undefined, why: undefined, agent: undefined, skew: 0, answered: 0, failing: false,
};
const histories = new Map(); // "range uuid" -> {points, at, gap}; uuid "" is the host

export const now = () => Date.now() - state.skew; // the controller's clock
export async function get(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(8000) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message ?? answer.statusText);
  return body;
}
export const known = (size) => (size > 0 ? size : undefined);
export const sizeOf = (vm) => vm.size_bytes ?? vm.balloon_actual_bytes;
const tells = (vm) => vm.agent_connected && !vm.marks.some((mark) => mark.what === "stale");
export const psiOf = (vm) => (tells(vm) ? vm.psi_bp : undefined);
export const reasonOf = (vm) => vm.last_change_reason ?? vm.last_reason;
export const isOver = (vm) => vm.policy !== undefined && psiOf(vm) > vm.policy.psi_bp;

// ---- histories -------------------------------------------------------------------------------

const key = (uuid) => `${state.range} ${uuid}`;
function toPoints(points) {
  return points.map((p) => ({
    t: p.time_us / 1000, min: p.min_mem_bytes, max: p.max_mem_bytes, grant: p.grant_bytes, size: p.size_bytes,
    host: p.host_bytes, psi: p.psi_bp, target: p.psi_target_bp, budget: p.budget_bytes, granted: p.granted_bytes,
    reserved: p.reserved_bytes, used: known(p.used_bytes), available: p.mem_available_bytes,
  }));
}
export const vmPoint = (vm, t) => ({
  t, min: vm.policy?.min_mem_bytes, max: vm.policy?.max_mem_bytes, grant: vm.balloon_target_bytes, size: sizeOf(vm),
  host: known(vm.host_bytes), psi: psiOf(vm), target: vm.policy?.psi_bp,
});
export const hostPoint = (host, vms, t) => ({
  t, budget: known(host.budget_bytes), granted: host.granted_bytes, reserved: host.reserved_bytes, available: host.mem_available_bytes,
  used: known(vms.reduce((sum, vm) => sum + vm.host_bytes + vm.qemu_own_bytes, 0)), psi: host.psi_bp,
});
function keepHistory(uuid, points, step) {
  histories.set(key(uuid), { points: toPoints(points), at: Date.now(), gap: 3 * Math.max(step, pollMs()) });
}

export function addLive(uuid, point) {
  const history = histories.get(key(uuid));
  if (!history) return;
  history.points.push(point);
  const from = point.t - RANGES[state.range][0];
  while (history.points.length > 2 && history.points[1].t < from) history.points.shift();
}

export function historyOf(uuid) {
  return histories.get(key(uuid)) ?? { points: [], gap: 3 * POLL_MS };
}

export function forgetGone() {
  const there = new Set(["", ...state.vms.map((vm) => vm.uuid)]);
  for (const name of histories.keys()) {
    if (!there.has(name.slice(name.indexOf(" ") + 1))) histories.delete(name);
  }
}

let asking = false;
// Asks for what is old of the host and of these; true if something came.
export async function fetchHistories(uuids) {
  if (asking) return false;
  const old = (uuid) => Date.now() - (histories.get(key(uuid))?.at ?? 0) > FRESH_MS[state.range];
  const vms = [...new Set(uuids)].filter(old).slice(0, AT_ONCE);
  if (!vms.length && !old("")) return false;
  asking = true;
  const range = state.range;
  try {
    const query = vms.length ? vms.map((uuid) => `&vm=${encodeURIComponent(uuid)}`).join("") : "&limit=0";
    const report = await get(`/v1/history?range=${range}${query}`);
    if (range === state.range) {
      const step = report.step_us / 1000;
      keepHistory("", report.host, step);
      if (report.host.length) state.skew = Date.now() - report.host.at(-1).time_us / 1000 - 500;
      for (const vm of report.vms) keepHistory(vm.uuid, vm.points, step);
    }
    return true;
  } catch {
    return false; // the list says that nobody answers; this is asked again with the next one
  } finally {
    asking = false;
  }
}

export function chartsOf(vm) {
  const { points, gap } = historyOf(vm.uuid);
  const until = Math.max(now(), points.at(-1)?.t ?? 0), from = until - RANGES[state.range][0];
  const top = (fields, least) => points.reduce((most, p) => fields.reduce((m, f) => Math.max(m, p[f] ?? 0), most), least) * 1.08;
  const highest = points.reduce((most, p) => Math.max(most, p.max ?? 0), vm.policy?.max_mem_bytes ?? 0);
  return {
    memory: {
      from, until, gap, points, kind: "bytes", band: ["min", "max"],
      top: Math.max(top(["size", "grant", "host"], 1), Math.min(highest, vm.ram_bytes) * 1.08),
      lines: [
        { field: "size", colour: "size", fill: 0.18, width: 2 }, { field: "host", colour: "used", width: 1.5 },
        { field: "grant", colour: "grant", dash: [4, 3], step: true },
      ],
    },
    psi: {
      from, until, gap, points, kind: "percent", top: top(["psi"], Math.max(1, (vm.policy?.psi_bp ?? 0) * 1.25)),
      lines: [{ field: "psi", colour: "psi", fill: 0.2 }, { field: "target", colour: "target", dash: [3, 3], width: 1, step: true }],
    },
  };
}

// ---- what is shown ---------------------------------------------------------------------------

const ORDERS = {
  name: (vm) => vm.name.toLowerCase(),
  size: (vm) => sizeOf(vm),
  host: (vm) => vm.host_bytes,
  psi: (vm) => (psiOf(vm) ?? -1) / (vm.policy?.psi_bp ?? 10000),
  change: (vm) => vm.last_change_time_us ?? 0,
};
function matches(vm) {
  const chip = state.chip;
  if (chip === "over" ? !isOver(vm) : chip === "marks" ? !vm.marks.length : chip !== "all" && vm.state !== chip) return false;
  const text = state.filter.toLowerCase();
  const fields = [vm.name, vm.uuid, vm.state, vm.policy_source, reasonOf(vm), ...vm.marks.map((mark) => mark.what)];
  return !text || fields.some((field) => field.toLowerCase().includes(text));
}

export function choose() {
  const order = ORDERS[state.sort], sign = state.down ? -1 : 1;
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  state.shown = state.vms.filter(matches).map((vm) => [order(vm), vm])
    .sort(([a, x], [b, y]) => sign * compare(a, b) || compare(x.name, y.name)).map(([, vm]) => vm);
}
