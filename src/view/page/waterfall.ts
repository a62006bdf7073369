import type { SandboxDetail } from "../api.ts";
import { formatDuration, visible } from "./format.ts";
import { nameOf, NOBODY, sideOf, type SpanRows } from "./span-rows.ts";
import { type Stretch, ticks, within, zoomed } from "./time-axis.ts";

/** Of a row, CSS pixels; the style has the same. */
export const ROW_HEIGHT = 22;
/** Rows beyond the visible ones that are there, so that scrolling does not flicker. */
const SPARE_ROWS = 6;
/** Right of the bars, for durations. */
const MARGIN_RIGHT = 72;
/** The longest name that is written into a row, characters. */
const NAME_CHARACTERS = 120;
/** From here on a bar's own p50–p99 is worth a mark, CSS pixels. */
const LEAST_RANGE_WIDTH = 4;
/** Fewer spans than these make no percentiles. */
export const LEAST_COUNT = 20;

/** What is shown, and how. */
export interface WaterfallView {
  readonly detail: SandboxDetail;
  readonly rows: SpanRows;
  readonly visible: Int32Array;
  readonly stretch: Stretch;
  readonly all: Stretch;
  readonly folded: ReadonlySet<number>;
  /** 1 for items that fit the filter; undefined if all do. */
  readonly matches: Uint8Array | undefined;
  readonly selected: number;
}

/** What a person does to it. */
export interface WaterfallActions {
  select(item: number): void;
  fold(item: number): void;
  foldAll(isFolded: boolean): void;
  look(stretch: Stretch): void;
}

type Colours = Readonly<
  Record<
    | "runtime"
    | "agent"
    | "containerd"
    | "host"
    | "gap"
    | "error"
    | "ink"
    | "quiet"
    | "panel"
    | "grid"
    | "bad"
    | "selected",
    string
  >
>;

/**
 * Draws a sandbox's spans: names as DOM rows, which can be selected and read aloud, and all bars on one canvas beside
 * them. Only the rows in sight exist, so that 100,000 spans scroll as smoothly as a hundred.
 */
export class Waterfall {
  readonly #scroller: HTMLElement;
  readonly #sizer: HTMLElement;
  readonly #names: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #ruler: HTMLElement;
  readonly #actions: WaterfallActions;
  readonly #pool: HTMLElement[] = [];
  #view: WaterfallView | undefined;
  /** Critical pieces of each item. */
  #critical = new Map<number, Stretch[]>();
  #frame = 0;
  #drag: { readonly from: number; to: number } | undefined;

  constructor(root: HTMLElement, actions: WaterfallActions) {
    this.#actions = actions;
    this.#ruler = part("div", "ruler-times");
    const ruler = part("div", "ruler");
    const title = part("div", "ruler-title");
    const name = part("span", "sp");
    name.textContent = "Span";
    title.append(name, this.#foldButton("[", "Fold all", true), this.#foldButton("]", "Unfold all", false));
    ruler.append(title, this.#ruler);
    this.#scroller = part("div", "rows");
    this.#scroller.tabIndex = 0;
    this.#scroller.setAttribute("role", "tree");
    this.#scroller.setAttribute("aria-label", "Spans");
    this.#sizer = part("div", "rows-size");
    this.#sizer.setAttribute("role", "presentation");
    this.#names = part("div", "names");
    this.#names.setAttribute("role", "presentation");
    this.#canvas = document.createElement("canvas");
    this.#canvas.className = "bars";
    this.#canvas.setAttribute("aria-hidden", "true");
    this.#sizer.append(this.#names);
    this.#scroller.append(this.#sizer);
    root.append(ruler, this.#scroller, this.#canvas);
    this.#scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    this.#scroller.addEventListener("click", (event) => this.#click(event));
    this.#canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#canvas.addEventListener("pointerdown", (event) => this.#startDrag(event));
    this.#canvas.addEventListener("pointermove", (event) => this.#moveDrag(event));
    this.#canvas.addEventListener("pointerup", (event) => this.#endDrag(event));
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /** @param key what does the same on a keyboard. */
  #foldButton(key: string, name: string, isFolded: boolean): HTMLElement {
    const button = document.createElement("button");
    button.className = "fold-all";
    button.type = "button";
    button.setAttribute("aria-label", name);
    button.title = `${name} (${key})`;
    const shown = document.createElement("kbd");
    shown.textContent = key;
    button.append(shown);
    button.addEventListener("click", () => this.#actions.foldAll(isFolded));
    return button;
  }

  show(view: WaterfallView): void {
    if (view.detail !== this.#view?.detail) {
      this.#critical = new Map();
      for (const { row, from, to } of view.detail.critical) {
        if (row < 0) continue;
        const pieces = this.#critical.get(row) ?? [];
        pieces.push({ from, to });
        this.#critical.set(row, pieces);
      }
    }
    const moved = view.selected !== this.#view?.selected;
    this.#view = view;
    this.#sizer.style.height = `${view.visible.length * ROW_HEIGHT}px`;
    if (moved) this.#scrollTo(view.visible.indexOf(view.selected));
    this.draw();
  }

  focus(): void {
    this.#scroller.focus({ preventScroll: true });
  }

  /** Draws at the next frame. */
  draw(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint(): void {
    const view = this.#view;
    if (view === undefined) return;
    const { scrollTop, clientHeight } = this.#scroller;
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - SPARE_ROWS);
    const last = Math.min(view.visible.length, Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + SPARE_ROWS);
    this.#paintNames(view, first, last);
    this.#paintBars(view, first, last, scrollTop);
    this.#paintRuler(view);
  }

  #paintNames(view: WaterfallView, first: number, last: number): void {
    const { detail, rows, visible: shown } = view;
    for (let at = first; at < last; at++) {
      const item = shown[at] as number;
      const row = this.#pool[at - first] ?? this.#newRow(at - first);
      const side = sideOf(detail.columns, item);
      const isError = detail.columns.error[item] === 1;
      const children = rows.children[item] as number;
      const isFolded = view.folded.has(item);
      row.hidden = false;
      row.dataset["item"] = String(item);
      row.style.top = `${at * ROW_HEIGHT}px`;
      row.classList.toggle("dim", view.matches !== undefined && view.matches[item] === 0);
      row.setAttribute("aria-level", String((rows.depth[item] as number) + 1));
      row.setAttribute("aria-selected", String(item === view.selected));
      row.setAttribute("aria-setsize", String(shown.length));
      row.setAttribute("aria-posinset", String(at + 1));
      if (children > 0) row.setAttribute("aria-expanded", String(!isFolded));
      else row.removeAttribute("aria-expanded");
      const [twist, mark, text, more] = [...row.children] as [HTMLElement, HTMLElement, HTMLElement, HTMLElement];
      row.style.paddingLeft = `${8 + Math.min(rows.depth[item] as number, 24) * 13}px`;
      twist.textContent = children === 0 ? "" : isFolded ? "▸" : "▾";
      mark.className = `side-mark fill-${side === NOBODY ? "gap" : side}`;
      text.className = side === NOBODY ? "name nobody" : isError ? "name error" : "name";
      text.textContent = (isError ? "✗ " : "") + visible(nameOf(detail, item), NAME_CHARACTERS);
      more.textContent = isFolded ? `+${(rows.subtree[item] as number) - 1}` : "";
    }
    for (let spare = last - first; spare < this.#pool.length; spare++) (this.#pool[spare] as HTMLElement).hidden = true;
  }

  #newRow(index: number): HTMLElement {
    const row = part("div", "row");
    row.setAttribute("role", "treeitem");
    row.append(part("span", "twist"), part("span", "side-mark"), document.createElement("bdi"), part("span", "more"));
    this.#names.append(row);
    this.#pool[index] = row;
    return row;
  }

  #paintBars(view: WaterfallView, first: number, last: number, scrollTop: number): void {
    const canvas = this.#canvas;
    const ratio = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    if (context === null || width === 0) return;
    const colours = coloursOf(canvas);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const { from, to } = view.stretch;
    const scale = (width - MARGIN_RIGHT) / (to - from);
    const x = (time: number): number => (time - from) * scale;
    context.fillStyle = colours.grid;
    for (const tick of ticks(view.stretch)) context.fillRect(Math.round(x(tick)), 0, 1, height);
    context.font = getComputedStyle(canvas).font;
    context.textBaseline = "middle";
    for (let at = first; at < last; at++) {
      const item = view.visible[at] as number;
      const top = at * ROW_HEIGHT - scrollTop;
      context.globalAlpha = view.matches !== undefined && view.matches[item] === 0 ? 0.25 : 1;
      if (item === view.selected) {
        context.fillStyle = colours.selected;
        context.fillRect(0, top, width, ROW_HEIGHT);
      }
      this.#paintBar(context, view, item, top, x, width, colours);
    }
    context.globalAlpha = 1;
    if (this.#drag !== undefined) {
      context.fillStyle = colours.quiet;
      context.globalAlpha = 0.2;
      const left = Math.min(this.#drag.from, this.#drag.to);
      context.fillRect(left, 0, Math.abs(this.#drag.to - this.#drag.from), height);
      context.globalAlpha = 1;
    }
  }

  #paintBar(
    context: CanvasRenderingContext2D,
    { detail, rows, stretch }: WaterfallView,
    item: number,
    top: number,
    x: (time: number) => number,
    width: number,
    colours: Colours,
  ): void {
    const start = rows.start[item] as number;
    const end = start + (rows.duration[item] as number);
    if (end < stretch.from || start > stretch.to) return;
    const side = sideOf(detail.columns, item);
    const right = width - MARGIN_RIGHT;
    const left = Math.max(0, x(start));
    const barEnd = Math.min(right, x(end));
    const barWidth = Math.max(2, barEnd - left);
    if (side === NOBODY) {
      hatch(context, left, top + 5, barWidth, 11, colours.gap);
      context.strokeStyle = colours.quiet;
      context.setLineDash([3, 3]);
      context.strokeRect(left + 0.5, top + 5.5, barWidth - 1, 10);
      context.setLineDash([]);
    } else {
      context.fillStyle = colours[side];
      context.fillRect(left, top + 5, barWidth, 11);
      if (detail.columns.error[item] === 1) hatch(context, left, top + 5, barWidth, 11, colours.panel);
    }
    context.fillStyle = colours.ink;
    for (const piece of this.#critical.get(item) ?? []) {
      const a = Math.max(0, x(piece.from));
      const b = Math.min(right, x(piece.to));
      if (b > a) context.fillRect(a, top + 17, Math.max(1, b - a), 2);
    }
    const range = detail.ranges[`${side} ${nameOf(detail, item)}`];
    let labelAt = barEnd;
    const isSlow = range !== undefined && range.count >= LEAST_COUNT && end - start > range.p99;
    // Where children take most of the time the children's ranges say more.
    const isOwn = side === NOBODY || (detail.columns.self[item] as number) * 2 > end - start;
    if (range !== undefined && range.count >= LEAST_COUNT && isOwn) {
      const a = x(start + range.p50);
      const b = Math.min(right, x(start + range.p99));
      if (b - a >= LEAST_RANGE_WIDTH && a < right) {
        context.fillStyle = colours.quiet;
        context.fillRect(a, top + 10, b - a, 1);
        context.fillRect(b - 1, top + 6, 1, 9);
        context.fillStyle = colours.ink;
        context.fillRect(a, top + 4, 2, 13);
        labelAt = Math.max(labelAt, b);
      }
    }
    const label = formatDuration(end - start) + (isSlow ? " ▲" : "");
    context.fillStyle = isSlow ? colours.bad : colours.quiet;
    const labelWidth = context.measureText(label).width;
    if (labelAt + 6 + labelWidth <= width) context.fillText(label, labelAt + 6, top + ROW_HEIGHT / 2);
    else if (left - 6 - labelWidth > 0) context.fillText(label, left - 6 - labelWidth, top + ROW_HEIGHT / 2);
    else {
      context.fillStyle = colours.panel;
      context.fillText(label, barEnd - labelWidth - 6, top + ROW_HEIGHT / 2);
    }
  }

  #paintRuler({ stretch }: WaterfallView): void {
    const width = this.#canvas.clientWidth - MARGIN_RIGHT;
    const marks = ticks(stretch).map((tick) => {
      const mark = part("span", "tick");
      mark.style.left = `${(tick - stretch.from) / (stretch.to - stretch.from) * width}px`;
      mark.textContent = tick === 0 ? "0" : formatDuration(tick);
      return mark;
    });
    this.#ruler.replaceChildren(...marks);
  }

  #scrollTo(at: number): void {
    if (at < 0) return;
    const top = at * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.#scroller;
    if (top < scrollTop + ROW_HEIGHT) this.#scroller.scrollTop = top - 2 * ROW_HEIGHT;
    else if (top > scrollTop + clientHeight - 2 * ROW_HEIGHT) {
      this.#scroller.scrollTop = top - clientHeight + 3 * ROW_HEIGHT;
    }
  }

  #click(event: MouseEvent): void {
    const target = event.target as HTMLElement;
    const item = target.closest<HTMLElement>(".row")?.dataset["item"];
    if (item === undefined) return;
    if (target.classList.contains("twist")) this.#actions.fold(Number(item));
    this.#actions.select(Number(item));
  }

  #timeAt(offsetX: number, { from, to }: Stretch): number {
    return from + offsetX / (this.#canvas.clientWidth - MARGIN_RIGHT) * (to - from);
  }

  /** With Ctrl (or a pinch) the wheel zooms; sideways it moves; else the rows scroll. */
  #wheel(event: WheelEvent): void {
    const view = this.#view;
    if (view === undefined) return;
    event.preventDefault();
    const { stretch, all } = view;
    if (event.ctrlKey || event.metaKey) {
      const around = this.#timeAt(event.offsetX, stretch);
      this.#actions.look(zoomed(stretch, around, Math.exp(event.deltaY / 200), all));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const pixels = event.shiftKey ? event.deltaY : event.deltaX;
      const moved = pixels / this.#canvas.clientWidth * (stretch.to - stretch.from);
      this.#actions.look(within({ from: stretch.from + moved, to: stretch.to + moved }, all));
    } else this.#scroller.scrollTop += event.deltaY;
  }

  #startDrag(event: PointerEvent): void {
    this.#drag = { from: event.offsetX, to: event.offsetX };
    this.#canvas.setPointerCapture(event.pointerId);
  }

  #moveDrag(event: PointerEvent): void {
    if (this.#drag === undefined) return;
    this.#drag.to = event.offsetX;
    this.draw();
  }

  /** A drag zooms to what it has covered; a click selects the row. */
  #endDrag(event: PointerEvent): void {
    const drag = this.#drag;
    const view = this.#view;
    this.#drag = undefined;
    if (drag === undefined || view === undefined) return;
    const [left, right] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
    if (right - left > 4) {
      this.#actions.look({ from: this.#timeAt(left, view.stretch), to: this.#timeAt(right, view.stretch) });
      return;
    }
    const at = Math.floor((event.offsetY + this.#scroller.scrollTop) / ROW_HEIGHT);
    const item = view.visible[at];
    if (item !== undefined) this.#actions.select(item);
    this.draw();
  }
}

function part(tag: "div" | "span", className: string): HTMLElement {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

/** Diagonal stripes, so that errors and gaps can be told without colours. */
function hatch(
  context: CanvasRenderingContext2D,
  left: number,
  top: number,
  width: number,
  height: number,
  colour: string,
): void {
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.globalAlpha *= 0.7;
  context.beginPath();
  // A bar may be as wide as the screen, never wider: it was cut to what is seen.
  for (let x = left - height; x < left + width; x += 6) {
    context.moveTo(x, top + height);
    context.lineTo(x + height, top);
  }
  context.stroke();
  context.restore();
}

function coloursOf(element: HTMLElement): Colours {
  const style = getComputedStyle(element);
  const of = (name: string): string => style.getPropertyValue(`--${name}`);
  return {
    runtime: of("runtime"),
    agent: of("agent"),
    containerd: of("containerd"),
    host: of("host"),
    gap: of("gap"),
    error: of("err"),
    ink: of("crit"),
    quiet: of("ink2"),
    panel: of("panel"),
    grid: of("line2"),
    bad: of("bad"),
    selected: of("sel"),
  };
}
