// The page follows the machine: fragments come as events, buttons ask the server, logs are streams of text.
import { Terminal } from "./terminal.js";

const SHOWN = 400_000; // characters of a log's end
const SETTLE = 6000; // milliseconds that a message stays
const OWN = { "X-Portchain": "dashboard" };

function made(tag, attributes = {}, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.append(...children);
  return one;
}

// Fragments

function layOut() {
  const part = (id, title, note) =>
    made("section", {}, made("h2", {}, `${title} `, made("small", {}, note)), made("div", { id, class: "scroll" }));
  const live = made("div", { id: "live" }, part("live-traffic", "Traffic", "as it goes"));
  const columns = [part("live-containers", "Containers", "docker start, stop, logs, exec"), part("live-services", "Services", "restart, logs, shell")];
  live.append(made("div", { class: "columns" }, ...columns));
  document.getElementById("picture").closest("section").after(live);
  document.querySelector("header").append(made("span", { id: "link", role: "status" }, "connecting"));
  document.body.append(made("p", { id: "told", role: "status", "aria-live": "assertive" }));
  // Broken hops are announced one by one, in words, not by reading the whole section again.
  document.getElementById("verdicts").removeAttribute("aria-live");
}

function keyed(node) {
  return node.id || "";
}

// Make `old` what `fresh` is, with as little change as may be: focus, scrolling and what was opened stay.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || keyed(old) !== keyed(fresh)) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  const same = old.getAttribute("class") === fresh.getAttribute("class");
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && name !== "hidden" && name !== "disabled" && !(name === "open" && same)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value && !(name === "open" && same)) old.setAttribute(name, value);
  children(old, fresh);
}

function children(old, fresh) {
  const known = new Map([...old.children].filter(keyed).map((one) => [keyed(one), one]));
  const wanted = [...fresh.childNodes];
  wanted.forEach((one, at) => {
    const here = old.childNodes[at];
    const mine = keyed(one) && known.get(keyed(one));
    if (mine && mine !== here) old.insertBefore(mine, here ?? null);
    if (mine || (here && !keyed(here))) morph(old.childNodes[at], one);
    else old.insertBefore(one, here ?? null);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

function show({ sections, gone, broke, mended }) {
  for (const [id, html] of Object.entries(sections)) {
    const place = document.getElementById(id);
    if (!place) continue;
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    children(place, fresh.content);
  }
  for (const id of gone) document.getElementById(id)?.replaceChildren();
  document.getElementById("find").dispatchEvent(new Event("input"));
  if (broke.length) tell(broke.map((line) => `broken: ${line}`).join("\n"), true);
  else if (mended.length) tell(mended.map((line) => `whole again: ${line.split(": ")[0]}`).join("\n"));
}

let settle = 0;
function tell(text, bad = false) {
  const told = document.getElementById("told");
  told.className = bad ? "bad" : "";
  told.textContent = text;
  clearTimeout(settle);
  settle = setTimeout(() => (told.textContent = ""), SETTLE);
}

function follow() {
  const link = document.getElementById("link");
  const events = new EventSource("events");
  events.onopen = () => {
    link.className = "";
    link.textContent = "live";
  };
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => {
    link.className = "lost";
    link.textContent = "the dashboard does not answer: is portchain dashboard still running?";
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  };
}

// Buttons

async function ask(place, words = {}) {
  const answer = await fetch(place, { method: "POST", headers: OWN, ...words });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.message ?? `${answer.status}`);
}

async function press(button) {
  const told = button.getAttribute("aria-label");
  button.disabled = true;
  tell(`${told} …`);
  try {
    await ask(button.dataset.post);
    tell(`${told}: done`);
  } catch (error) {
    tell(`${told}: ${error.message}`, true);
  } finally {
    button.disabled = false;
  }
}

// Shells and logs

function append(pre, text) {
  const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
  pre.append(text);
  pre.normalize();
  const all = pre.firstChild;
  if (all && all.length > SHOWN) all.deleteData(0, all.length - SHOWN);
  if (atEnd) pre.scrollTop = pre.scrollHeight;
}

// What the server goes on to say, piece by piece, until the dialog is closed.
async function* pieces(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) yield value;
}

async function showLog(place, dialog, title, signal) {
  const pre = made("pre", { tabindex: "0", role: "log", "aria-label": title });
  dialog.append(pre);
  const answer = await ask(place, { signal });
  for await (const text of pieces(answer)) append(pre, text);
}

async function showShell(place, dialog, title, signal) {
  let begin;
  const number = new Promise((resolve) => (begin = resolve)); // what is typed before that waits
  const json = (value) => ({ body: JSON.stringify(value) });
  const terminal = new Terminal(title, {
    send: async (text) => ask(`programs/${await number}`, { body: text }),
    resize: async (size) => ask(`programs/${await number}/size`, json(size)),
    failed: (error) => signal.aborted || tell(`${title}: ${error.message}`, true),
  });
  dialog.append(terminal.view);
  terminal.keys.focus();
  terminal.fit();
  const answer = await ask(place, { signal, ...json(terminal.size) });
  begin(answer.headers.get("X-Program"));
  let rest = "";
  for await (const text of pieces(answer)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) terminal.show(JSON.parse(line));
  }
  terminal.over = true;
}

async function open(button) {
  const ended = new AbortController();
  const { open: place, title } = button.dataset;
  const close = made("button", { type: "button" }, "Close");
  const head = made("header", {}, made("b", {}, title), close);
  const dialog = made("dialog", { "aria-label": title }, head);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    ended.abort();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  try {
    await (place.endsWith("/shell") ? showShell : showLog)(place, dialog, title, ended.signal);
  } catch (error) {
    if (!ended.signal.aborted) dialog.append(made("p", { role: "alert" }, error.message));
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.post) press(button);
  else if (button?.dataset.open) open(button);
});
layOut();
follow();
