// SPDX-License-Identifier: Apache-2.0
// Small helpers around the document. Text is set as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  return s < 90 ? `${s} s` : s < 5400 ? `${Math.round(s / 60)} min` : s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

export function place(node, from, to, whole) {
  const share = (value) => Math.min(1, Math.max(0, value / whole));
  node.hidden = !(whole > 0) || from === undefined || to === undefined;
  if (node.hidden) return;
  node.style.left = `${(share(from) * 100).toFixed(2)}%`;
  node.style.width = `${(Math.max(0, share(to) - share(from)) * 100).toFixed(2)}%`;
}

export function figures(list, entries) {
  const parts = list.children;
  entries.forEach(([term, text, tone], i) => {
    if (!parts[i]) list.append(element("div", {}, element("dt"), element("dd")));
    setText(parts[i].firstChild, term);
    setText(parts[i].lastChild, text);
    setAttribute(parts[i], "data-tone", tone ?? "");
  });
  while (list.children.length > entries.length) list.lastChild.remove();
}
