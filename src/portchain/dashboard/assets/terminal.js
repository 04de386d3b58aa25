// A terminal in a dialog: the server keeps the screen and tells of rows that change, keys go to it as bytes.
const ABOVE = 5000; // rows that have scrolled off
const MOST = 300; // columns or lines
const AT_ONCE = 8000; // characters in one message
const SETTLE = 200; // milliseconds without another size
const CSI = "\x1b[";
const KEYS = {
  ...{ Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b" },
  ...{ ArrowUp: `${CSI}A`, ArrowDown: `${CSI}B`, ArrowRight: `${CSI}C`, ArrowLeft: `${CSI}D`, Home: `${CSI}H`, End: `${CSI}F` },
  ...{ Insert: `${CSI}2~`, Delete: `${CSI}3~`, PageUp: `${CSI}5~`, PageDown: `${CSI}6~` },
};
const COLOUR = /^(fg|bg)-([0-9a-f]{6})$/;

// What a key sends; undefined for what the text field is to take, or the browser.
function sends(event) {
  if (event.isComposing || event.metaKey || event.getModifierState("AltGraph")) return undefined;
  if (event.key === "Tab" && event.shiftKey) return `${CSI}Z`;
  if (KEYS[event.key]) return event.altKey ? `\x1b${KEYS[event.key]}` : KEYS[event.key];
  if (event.key.length !== 1) return undefined;
  const code = event.key.toUpperCase().charCodeAt(0);
  if (event.ctrlKey && !event.shiftKey && event.key !== "v" && (event.key === " " || (code >= 64 && code < 96))) return String.fromCharCode(code & 31);
  return event.altKey && !event.ctrlKey ? `\x1b${event.key}` : undefined;
}

function run([text, looks]) {
  const one = document.createElement("span");
  one.textContent = text;
  for (const look of looks.split(" ").filter(Boolean)) {
    const [, side, colour] = look.match(COLOUR) ?? [];
    if (colour) one.style[side === "fg" ? "color" : "backgroundColor"] = `#${colour}`;
    else one.classList.add(look);
  }
  return one;
}

function fill(row, runs) {
  row.replaceChildren(...runs.map((one) => (one[1] ? run(one) : one[0])), "\n");
  return row;
}

export class Terminal {
  #rows = [];
  #above = [];
  #waiting = "";
  #busy = false;

  over = false; // nothing is sent any more

  // `send` and `resize` ask the server, and may fail; what goes wrong is for `failed`.
  constructor(title, { send, resize, failed }) {
    this.keys = document.createElement("textarea");
    for (const [name, value] of Object.entries({ "aria-label": "Terminal", autocomplete: "off", autocapitalize: "off", spellcheck: "false" })) this.keys.setAttribute(name, value);
    this.screen = document.createElement("pre");
    this.screen.setAttribute("role", "log");
    this.screen.setAttribute("aria-label", title);
    this.view = document.createElement("div");
    this.view.className = "terminal";
    this.view.append(this.screen, this.keys);
    this.send = send;
    this.failed = failed;
    this.#listen();
    let settled = 0;
    new ResizeObserver(() => {
      clearTimeout(settled);
      settled = setTimeout(() => this.fit() && !this.over && resize(this.size).catch(failed), SETTLE);
    }).observe(this.view);
  }

  // Set `size` to the columns and lines that there is room for; true where that is another.
  fit() {
    if (!this.view.isConnected) return false;
    const probe = fill(document.createElement("span"), [["0".repeat(10), ""]]);
    this.screen.append(probe);
    const { width } = probe.getBoundingClientRect();
    probe.remove();
    const inner = getComputedStyle(this.screen);
    const room = (whole, ...sides) => whole - sides.reduce((sum, side) => sum + parseFloat(inner[side]), 0);
    const columns = Math.floor(room(this.view.clientWidth, "paddingLeft", "paddingRight") / (width / 10));
    const lines = Math.floor(room(this.view.clientHeight, "paddingTop", "paddingBottom") / parseFloat(inner.lineHeight));
    const before = this.size;
    this.size = { columns: Math.min(MOST, Math.max(2, columns)), lines: Math.min(MOST, Math.max(2, lines)) };
    return before?.columns !== this.size.columns || before?.lines !== this.size.lines;
  }

  show({ above, rows, lines, cursor }) {
    const atEnd = this.view.scrollHeight - this.view.scrollTop - this.view.clientHeight < 40;
    while (this.#rows.length < lines) this.#rows.push(this.screen.appendChild(fill(document.createElement("span"), [])));
    while (this.#rows.length > lines) this.#rows.pop().remove();
    const gone = above.map((runs) => fill(document.createElement("span"), runs));
    this.#rows[0].before(...gone);
    this.#above.push(...gone);
    for (const old of this.#above.splice(0, Math.max(0, this.#above.length - ABOVE))) old.remove();
    for (const [number, runs] of Object.entries(rows)) fill(this.#rows[number], runs);
    this.#point(cursor);
    if (atEnd) this.view.scrollTop = this.view.scrollHeight;
  }

  #point(cursor) {
    this.keys.classList.toggle("away", !cursor);
    if (!cursor) return;
    this.keys.style.left = `calc(${cursor[0]}ch + 14px)`;
    this.keys.style.top = `${this.#rows[cursor[1]].offsetTop}px`;
  }

  #listen() {
    this.keys.addEventListener("keydown", (event) => {
      const marked = event.ctrlKey && event.key === "c" && !getSelection().isCollapsed;
      const text = marked || (event.key === "Escape" && event.shiftKey) ? undefined : sends(event);
      if (text === undefined) return;
      event.preventDefault();
      this.#type(text);
    });
    this.keys.addEventListener("input", (event) => event.isComposing || this.#take());
    this.keys.addEventListener("compositionend", () => this.#take());
    this.view.addEventListener("mouseup", () => getSelection().isCollapsed && this.keys.focus());
  }

  #take() {
    this.#type(this.keys.value.replaceAll("\n", "\r"));
    this.keys.value = "";
  }

  async #type(text) {
    if (this.over) return;
    this.#waiting += text;
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#waiting) {
        const now = this.#waiting.slice(0, AT_ONCE);
        this.#waiting = this.#waiting.slice(now.length);
        await this.send(now);
      }
    } catch (error) {
      this.#waiting = "";
      this.failed(error);
    } finally {
      this.#busy = false;
    }
  }
}
