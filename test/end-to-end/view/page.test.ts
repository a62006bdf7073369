/// <reference lib="dom" />
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { TraceStore } from "../../../src/store/trace-store.ts";
import { REAL_STREAMS, streamBytes } from "../../decode/support/recorded-streams.ts";
import { Guest, Sandbox } from "../../process/support/sandbox.ts";
import { Running } from "../../process/support/process.ts";
import { test } from "../../process/support/test.ts";
import { agentRecords, incoming, madeUp, runtimeRecords } from "../../store/support.ts";
import { until } from "../../support/until.ts";

/** Debian's Chromium. */
const CHROMIUM = "/usr/bin/chromium";
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];
const SCREENSHOTS = fileURLToPath(new URL("../../../dist/screenshots/", import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const LIMITS = { maxBytes: 2 ** 30, keepMs: 3.6e9 };
const SANDBOX = "61770081df53a60a0ecbb336f4e3cec061770081df53a60a0ecbb336f4e3cec0";
const MANY_SPANS = 100_063;

const directory = mkdtempSync(join(tmpdir(), "ktf-page-"));
let browser: Browser;

before(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
});
after(async () => {
  await browser.close();
  rmSync(directory, { recursive: true });
});

/** A page of the viewer that has shown nothing wrong, and asked nobody but its own server. */
class Viewer implements AsyncDisposable {
  readonly page: Page;
  readonly #context: BrowserContext;
  readonly #process: Running | undefined;
  readonly problems: string[] = [];

  private constructor(context: BrowserContext, page: Page, base: string, process: Running | undefined) {
    this.#context = context;
    this.page = page;
    this.#process = process;
    page.on("pageerror", (error) => this.problems.push(error.message));
    page.on("console", (message) => message.type() === "error" && this.problems.push(message.text()));
    page.on("dialog", (dialog) => {
      this.problems.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(base)) this.problems.push(`a request to ${request.url().slice(0, 200)}`);
    });
  }

  /** Runs the executable, and opens the URL that it prints. */
  static async of(args: readonly string[], colorScheme: "light" | "dark" = "light"): Promise<Viewer> {
    const process = new Running(args);
    const printed = (): string | undefined => /http:\/\/\S+#token=[\w-]+/.exec(process.stdout + process.stderr)?.[0];
    await until(() => printed() !== undefined, `the URL in ${process.stderr}`);
    const url = printed() ?? "";
    return await Viewer.#open(url, new URL(url).origin, process, colorScheme);
  }

  static async file(path: string): Promise<Viewer> {
    return await Viewer.#open(`file://${path}`, "file://", undefined, "light");
  }

  static async #open(
    url: string,
    base: string,
    process: Running | undefined,
    colorScheme: "light" | "dark",
  ): Promise<Viewer> {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme });
    const page = await context.newPage();
    const viewer = new Viewer(context, page, base, process);
    await page.goto(url);
    await page.waitForSelector("main h1");
    return viewer;
  }

  async go(hash: string, ready: string): Promise<void> {
    await this.page.evaluate((next) => location.hash = next, hash);
    await this.page.waitForSelector(ready);
  }

  /** Keeps a picture, and has accessibility judged. */
  async look(name: string): Promise<void> {
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
    await this.page.evaluate(AXE);
    const violations = await this.page.evaluate(async () => {
      const { axe } = globalThis as unknown as {
        axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
      };
      return (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 200)}`);
    });
    assert.deepEqual(violations, [], name);
  }

  rows(): Promise<string[]> {
    return this.page.locator(".row:not([hidden]) bdi").allTextContents();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.close();
    await this.#process?.[Symbol.asyncDispose]();
  }
}

/** A store's file with what there is of recordings, and two labels with enough sandboxes to compare. */
function recordedFile(name: string): string {
  const file = join(directory, name);
  const store = TraceStore.open(file, LIMITS);
  for (const [index, stream] of REAL_STREAMS.entries()) {
    const id = `${index}${SANDBOX.slice(1)}`;
    store.add(incoming("guest", agentRecords(stream, { "kata.sandbox.id": id, "service.name": "kata-agent" })));
  }
  const agent = runtimeRecords("collated-agent", { "service.name": "kata-agent" });
  store.add(incoming("file", [...runtimeRecords("go-session"), ...agent]));
  for (const [label, factor] of [["kata-4.0", 1], ["kata-4.1", 1.2]] as const) {
    for (let i = 0; i < 30; i++) {
      const resource = {
        "kata.sandbox.id": `${label}-${String(i).padStart(3, "0")}`,
        "k8s.pod.name": `web-${i}`,
        "kata.version": `${label.slice("kata-".length)}.0`,
      };
      const ms = (value: number): number => Math.round(value * 1e6 * (1 + (i * 7919 % 30) / 90));
      store.add(
        incoming("runtime", [
          madeUp({ id: 1, name: "rootSpan", to: ms(950) }, resource),
          madeUp({ id: 2, parent: 1, name: "startVM", from: ms(70), to: ms(590) }, resource),
          madeUp({ id: 3, parent: 2, name: "LaunchQemu", from: ms(100), to: ms(100 + 50 * factor) }, resource),
          madeUp({ id: 4, parent: 2, name: "connect", from: ms(190), to: ms(580) }, resource),
          madeUp({ id: 5, parent: 1, name: "ttrpc.CreateSandbox", from: ms(600), to: ms(640) }, resource),
          madeUp({ id: 6, parent: 1, name: "ttrpc.StartContainer", from: ms(700), to: ms(800) }, resource),
        ]),
        Date.now(),
        label,
      );
      store.add(
        incoming("guest", [
          madeUp({ id: 7, parent: 5, name: "create_sandbox", from: ms(601), to: ms(638) }, resource),
        ]),
        Date.now(),
        label,
      );
    }
  }
  store.close();
  return file;
}

const VIEW = ["--view", "127.0.0.1:0"];

for (const scheme of ["light", "dark"] as const) {
  test(`each page, ${scheme}: something to see, nothing wrong, and everybody can use it`, async () => {
    await using viewer = await Viewer.of(["view", recordedFile(`recorded-${scheme}`), ...VIEW], scheme);
    await viewer.page.waitForSelector("tbody tr");
    assert.equal(await viewer.page.locator("tbody tr").count(), 71);
    await viewer.look(`sandboxes-${scheme}`);
    await viewer.go("#/sandbox/kata-4.1-003?span=0000000000000003", ".row bdi");
    await viewer.page.waitForSelector("aside .dist");
    assert.ok((await viewer.rows()).includes("guest kernel boot, agent start"));
    const chips = await viewer.page.locator(".chip").allInnerTexts();
    assert.ok(chips.includes("Kata 4.1.0"), chips.join(", "));
    // Of seven spans nobody can tell what sending them cost.
    assert.ok(!chips.some((chip) => chip.startsWith("tracing cost")), chips.join(", "));
    await viewer.look(`sandbox-${scheme}`);
    await viewer.go("#/operations?label=kata-4.1", "tbody tr");
    await viewer.look(`operations-${scheme}`);
    await viewer.go("#/operations?label=kata-4.1&as=graph", ".graph .node");
    const named = await viewer.page.locator(".graph .title").allTextContents();
    for (const name of ["rootSpan", "startVM", "LaunchQemu", "create_sandbox"]) assert.ok(named.includes(name), name);
    // As high as its line: an element that SVG does not know would be there, and not be seen.
    const box = await viewer.page.locator(".graph .title").first().boundingBox();
    assert.ok(box !== null && box.width > 20 && box.height > 8);
    await viewer.look(`graph-${scheme}`);
    await viewer.go("#/compare?a=kata-4.0&b=kata-4.1", ".pill.bad");
    assert.match(
      await viewer.page.locator("tr", { has: viewer.page.locator(".pill.bad") }).first().innerText(),
      /LaunchQemu/,
    );
    await viewer.look(`compare-${scheme}`);
    assert.deepEqual(viewer.problems, []);
  });
}

test("in a narrow window and on paper everything is within the page", async () => {
  await using viewer = await Viewer.of(["view", recordedFile("recorded-narrow"), ...VIEW]);
  const { page } = viewer;
  await page.setViewportSize({ width: 600, height: 900 });
  for (
    const [name, hash, ready] of [
      ["sandboxes", "#/sandboxes", "tbody tr"],
      ["sandbox", "#/sandbox/kata-4.1-003", ".row bdi"],
      ["operations", "#/operations", "tbody tr"],
      ["compare", "#/compare?a=kata-4.0&b=kata-4.1", ".pill.bad"],
    ] as const
  ) {
    await viewer.go(hash, ready);
    for (const part of ["header nav", "header .share", "header #filter", "main h1"]) {
      const box = await page.locator(part).boundingBox();
      assert.ok(box !== null && box.x >= 0 && box.x + box.width <= 600, `${name}: ${part} ${JSON.stringify(box)}`);
    }
    await viewer.look(`narrow-${name}`);
  }
  await page.setViewportSize({ width: 1000, height: 700 });
  await viewer.go(`#/sandbox/5${SANDBOX.slice(1)}`, ".row bdi");
  await page.emulateMedia({ media: "print" });
  await until(async () => await page.locator(".row:not([hidden])").count() >= 94, "all spans are on paper");
  await page.screenshot({ path: join(SCREENSHOTS, "print.png"), fullPage: true });
  assert.deepEqual(viewer.problems, []);
});

test("a page for each stream of the real agent, with every parent that the agent wrote", async () => {
  await using viewer = await Viewer.of(["view", recordedFile("recorded-real"), ...VIEW]);
  for (const [index, stream] of REAL_STREAMS.entries()) {
    await viewer.go(`#/sandbox/${index}${SANDBOX.slice(1)}`, `.head .mono :text("${index}${SANDBOX.slice(1, 9)}")`);
    await until(
      async () => (await viewer.page.locator(".chip").allTextContents()).includes(`${stream.spans} spans`),
      stream.file,
    );
  }
  assert.deepEqual(viewer.problems, []);
});

test("filter, keys, zoom and folding; the address says all of it", async () => {
  const id = `5${SANDBOX.slice(1)}`;
  await using viewer = await Viewer.of(["view", recordedFile("recorded-keys"), ...VIEW]);
  const { page } = viewer;
  const query = async (): Promise<URLSearchParams> => {
    return new URLSearchParams((await page.evaluate(() => location.hash)).split("?")[1] ?? "");
  };
  /** Waits until the address has a parameter that is as it should be; a page is drawn some time after a key. */
  const address = async (name: string, isRight: (value: string | null) => boolean): Promise<void> => {
    await until(async () => isRight((await query()).get(name)), `${name} in the address`);
  };
  await viewer.go(`#/sandbox/${id}`, ".row bdi");
  await page.keyboard.press("/");
  await page.keyboard.type("get_ipc");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  await page.keyboard.type("src:agent dur>1s");
  await until(async () => await page.locator(".row.dim").count() > 0, "rows are dimmed");
  await address("f", (filter) => filter === "src:agent dur>1s");
  await page.locator(".rows").focus();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await address("span", (span) => span !== null && span !== "");
  await until(async () => await page.locator('.row[aria-selected="true"]').count() === 1, "one row is selected");
  const before = (await viewer.rows()).length;
  await page.keyboard.press("h");
  await until(
    async () => (await viewer.rows()).length < before || (await query()).get("fold") !== null,
    "it is folded",
  );
  await page.keyboard.press("l");
  await address("fold", (folded) => folded === null);
  await page.keyboard.press("z");
  await address("t", (times) => /^-?\d+--?\d+$/.test(times ?? ""));
  const link = page.url();
  await page.goto("about:blank");
  await page.goto(link);
  await page.waitForSelector('.row[aria-selected="true"]');
  await page.keyboard.press("0");
  await address("t", (times) => times === null);
  await page.keyboard.press("c");
  await address("clock", (clock) => clock === "raw");
  await page.keyboard.press("g");
  await page.keyboard.press("o");
  await page.waitForSelector("h1:text('Operations')");
  await page.keyboard.press("?");
  await page.waitForSelector("[role=dialog]");
  await page.keyboard.press("Escape");
  await page.keyboard.press("t");
  await page.waitForSelector('html[data-theme="dark"]');
  assert.deepEqual(viewer.problems.filter((problem) => !problem.includes("about:blank")), []);
});

test("keys for errors, slow spans, folding all, the link and the pages", async () => {
  await using viewer = await Viewer.of(["view", recordedFile("recorded-more-keys"), ...VIEW]);
  const { page } = viewer;
  const selected = (): Promise<string> => page.locator('.row[aria-selected="true"] bdi').innerText();
  const id = "00000000000000000000000000000000000000000000000040507b35c8cfdf40";
  await viewer.go(`#/sandbox/${id}`, ".row bdi");
  assert.equal(await page.locator(".chip:has-text('tracing cost')").innerText(), "tracing cost ≈ 2 ms");
  assert.equal(await page.locator(".chip:has-text('Kata')").count(), 0);
  for (const key of ["e", "E"]) {
    await page.keyboard.press(key);
    await page.waitForSelector('.row[aria-selected="true"]');
    assert.equal(await selected(), "✗ update_routes");
  }
  await page.keyboard.press("[");
  await until(async () => (await viewer.rows()).length === 1, "all is folded");
  await page.keyboard.press("]");
  await until(async () => (await viewer.rows()).length > 20, "all is unfolded");
  await page.getByRole("button", { name: "Fold all", exact: true }).click();
  await until(async () => (await viewer.rows()).length === 1, "all is folded with a button");
  await page.getByRole("button", { name: "Unfold all" }).click();
  await until(async () => (await viewer.rows()).length > 20, "all is unfolded with a button");
  await page.keyboard.press("y");
  await page.waitForSelector(".banner:has-text('Link copied')");
  await viewer.go("#/sandboxes?label=kata-4.1&sort=start", "tbody tr");
  await page.locator("tbody tr").first().click();
  await page.waitForSelector(".row bdi");
  await page.keyboard.press("s");
  // The first of its spans that is longer than 99 % of its operation's.
  await page.waitForSelector('.row[aria-selected="true"]');
  assert.equal(await selected(), "rootSpan");
  for (const [key, title] of [["s", "Sandboxes"], ["o", "Operations"]] as const) {
    await page.keyboard.press("g");
    await page.keyboard.press(key);
    await page.waitForSelector(`h1:text-is("${title}")`);
  }
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await page.waitForSelector("h1:has-text('against'), h1:has-text('Compare')");
  assert.deepEqual(viewer.problems, []);
});

test("an attribute's value finds its spans", async () => {
  const id = `4${SANDBOX.slice(1)}`;
  await using viewer = await Viewer.of(["view", recordedFile("recorded-attribute"), ...VIEW]);
  await viewer.go(`#/sandbox/${id}?f=${encodeURIComponent("code.namespace=kata_agent::rpc")}`, ".row.dim");
  // Until the server has answered, none fits.
  await until(
    async () => await viewer.page.locator(".row:not(.dim):not([hidden])").count() > 0,
    "the spans with the attribute are not dimmed",
  );
});

test("new spans appear while a sandbox runs, and its end is seen", async () => {
  const session = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));
  assert.ok(session !== undefined);
  using sandbox = new Sandbox();
  await using viewer = await Viewer.of(["view", ...VIEW, "--socket-path", sandbox.socketPath]);
  await viewer.page.waitForSelector("text=No sandbox yet");
  await viewer.look("empty");
  await viewer.go("#/operations", "h1:text('No operations yet')");
  await viewer.go("#/compare", "h1:text('Nothing to compare yet')");
  await viewer.look("empty-compare");
  await viewer.go("#/sandboxes", "text=No sandbox yet");
  const bytes = streamBytes(session);
  const guest = await Guest.connect(sandbox.address);
  await guest.write(bytes.subarray(0, bytes.length / 2));
  await viewer.page.waitForSelector("td:has-text('running')");
  await viewer.go(`#/sandbox/${sandbox.id}`, ".row bdi");
  const chip = async (): Promise<number> =>
    Number.parseInt(await viewer.page.locator(".chip:has-text('spans')").innerText(), 10);
  const first = await chip();
  assert.ok(first < session.spans);
  await guest.write(bytes.subarray(bytes.length / 2));
  await until(async () => await chip() === session.spans, "all spans are there");
  await guest.end();
  await viewer.page.waitForSelector(".chip:has-text('ended')");
  assert.deepEqual(viewer.problems, []);
});

test("100,063 spans open and scroll", async () => {
  const file = join(directory, "many.jsonl");
  const span = (i: number): string =>
    JSON.stringify({
      traceId: "0".repeat(31) + "1",
      spanId: (i + 1).toString(16).padStart(16, "0"),
      ...(i > 0 && { parentSpanId: (Math.floor(i / 5) + 1).toString(16).padStart(16, "0") }),
      name: `operation_${i % 40}`,
      startTimeUnixNano: String(1_795_694_948_000_000_000n + BigInt(i * 10_000)),
      endTimeUnixNano: String(1_795_694_949_200_000_000n + BigInt(i * 10)),
    });
  // A store keeps 20,000 spans of one sandbox; an exported page can hold more, from elsewhere.
  const exported = join(directory, "many.html");
  writeFileSync(
    file,
    `{"resourceSpans":[{"scopeSpans":[{"spans":[${Array.from({ length: 20_000 }, (_, i) => span(i)).join(",")}]}]}]}`,
  );
  const run = new Running(["export", file, "--html", exported]);
  assert.deepEqual(await run.exited, { code: 0, signal: null });
  writeFileSync(exported, withManyRows(readFileSync(exported, "utf8")));
  await using viewer = await Viewer.file(exported);
  const opened = await viewer.page.evaluate(async () => {
    const began = performance.now();
    location.hash = "#/sandbox/unassigned";
    while (document.querySelector(".row bdi") === null) await new Promise(requestAnimationFrame);
    return performance.now() - began;
  });
  assert.ok((await viewer.page.locator(".chip").allTextContents()).includes(`${MANY_SPANS} spans`));
  const frames = await viewer.page.evaluate(async () => {
    const rows = document.querySelector(".rows") as HTMLElement;
    const times: number[] = [];
    for (let i = 0; i < 120; i++) {
      const began = performance.now();
      rows.scrollTop += 1500;
      await new Promise(requestAnimationFrame);
      await new Promise((resolve) => setTimeout(resolve));
      times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b);
  });
  console.log(
    `${MANY_SPANS} spans: opened in ${opened.toFixed(0)} ms, a frame takes ${frames[60]?.toFixed(1)} ms (p50), ${
      frames[114]?.toFixed(1)
    } ms (p95)`,
  );
  assert.match((await viewer.rows())[0] ?? "", /^operation_\d+$/);
  assert.deepEqual(viewer.problems, []);
});

/** An exported page whose one sandbox has as many rows as nobody would send: the columns of its spans, again and again. */
function withManyRows(html: string): string {
  const open = '<script type="application/json" id="data">';
  const from = html.indexOf(open) + open.length;
  const to = html.indexOf("</script>", from);
  const data = JSON.parse(html.slice(from, to));
  const detail = data.details.unassigned;
  const { columns } = detail;
  const count = columns.id.length;
  for (let i = count; i < MANY_SPANS; i++) {
    columns.id.push((i + 1).toString(16).padStart(16, "0"));
    columns.parent.push(Math.floor(i / 5));
    for (const key of ["trace", "name", "side", "error", "self"]) columns[key].push(columns[key][i % count]);
    columns.start.push(i * 10_000);
    columns.duration.push(1_000_000);
  }
  detail.spans = MANY_SPANS;
  data.spans = {};
  return html.slice(0, from) + JSON.stringify(data).replaceAll("<", "\\u003c") + html.slice(to);
}

test("an exported page opens from the disk, without a network", async () => {
  const page = join(directory, "export.html");
  const run = new Running(["export", recordedFile("recorded-export"), "--sandbox", "kata-4.1-003", "--html", page]);
  assert.deepEqual(await run.exited, { code: 0, signal: null });
  await using viewer = await Viewer.file(page);
  await viewer.go("#/sandbox/kata-4.1-003?span=0000000000000003", "aside :text('LaunchQemu')");
  await viewer.look("exported");
  await viewer.go("#/compare", ".empty");
  assert.deepEqual(viewer.problems, []);
});

test("10,000 spans whose every string is hostile run nothing and ask for nothing", async () => {
  const hostile = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(2)</script>",
    "</script><script>alert(3)</script>",
    "javascript:alert(4)",
    "\u202eevil\u202c\u2066x",
    "\u0000\u001b]0;x\u0007\u009b31m",
    '"><svg onload=fetch("http://evil.example")>',
    "{{constructor.constructor('alert(5)')()}}",
    "x".repeat(64 * 1024),
    "__proto__",
    "constructor",
    "\ud800 lone",
  ];
  const file = join(directory, "hostile");
  const store = TraceStore.open(file, LIMITS);
  for (let i = 0; i < 10_000; i++) {
    const text = hostile[i % hostile.length] as string;
    const short = i < 24 ? text : text.slice(0, 200);
    const span = { id: i + 1, ...(i > 0 && { parent: Math.floor(i / 3) + 1 }), name: short, from: i, to: i + 5000 };
    const record = madeUp(span, { "kata.sandbox.id": SANDBOX, [short.slice(0, 60)]: short }, {
      [short.slice(0, 80)]: short,
      req: short,
    });
    store.add(
      incoming("guest", [{
        ...record,
        status: { code: 2, message: short },
        events: [{
          timeUnixNano: record.startTimeUnixNano,
          name: short,
          attributes: record.attributes,
          droppedAttributesCount: 0,
        }],
      }]),
      Date.now(),
      text.slice(0, 50),
    );
  }
  store.close();
  await using viewer = await Viewer.of(["view", file, ...VIEW]);
  await viewer.page.waitForSelector("tbody tr");
  await viewer.go(`#/sandbox/${SANDBOX}`, ".row bdi");
  await viewer.page.locator(".rows").focus();
  for (let i = 0; i < 14; i++) {
    await viewer.page.keyboard.press("j");
    await viewer.page.waitForSelector("aside h2:text('Attributes')");
  }
  for (const name of await viewer.rows()) assert.ok(name.length <= 140 && !/[\u0000-\u001f\u202e\u2066]/.test(name));
  await viewer.go("#/operations", "tbody tr");
  await viewer.go("#/compare?a=another", "tbody tr");
  await viewer.go("#/compare", "h1:text('Nothing to compare yet')");
  const exported = join(directory, "hostile.html");
  const run = new Running(["export", file, "--html", exported, "--all-attributes"]);
  assert.deepEqual(await run.exited, { code: 0, signal: null });
  assert.deepEqual(viewer.problems, []);
  await using offline = await Viewer.file(exported);
  await offline.go(`#/sandbox/${SANDBOX}`, ".row bdi");
  await offline.page.keyboard.press("j");
  await offline.page.waitForSelector("aside h2:text('Attributes')");
  assert.deepEqual(offline.problems, []);
});
