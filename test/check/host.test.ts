import assert from "node:assert/strict";
import { test } from "node:test";
import { checkDisk } from "../../src/check/disk.ts";
import { checkLimits } from "../../src/check/limits.ts";
import { checkPorts } from "../../src/check/ports.ts";
import { listProcesses } from "../../src/check/processes.ts";
import { checkRights, type UserDatabase } from "../../src/check/rights.ts";
import { checkTime } from "../../src/check/time.ts";
import type { AreaFinding } from "../../src/check/finding.ts";
import { FakeHost } from "./fake-host.ts";
import { settingsOf } from "./settings.ts";

const OWN_USER: UserDatabase = {
  userByName: (name) => name === "kata-trace-forwarder" ? { uid: 990, gid: 990 } : undefined,
  userById: () => undefined,
};
const ONLY_NOBODY: UserDatabase = {
  userByName: (name) => name === "nobody" ? { uid: 65534, gid: 65534 } : undefined,
  userById: () => undefined,
};
const NO_USERS: UserDatabase = { userByName: () => undefined, userById: () => undefined };

function status(uid: number, effective: string): string {
  const ids = [uid, uid, uid, uid].join("\t");
  const sets = `CapPrm:\t${effective}\nCapEff:\t${effective}\nCapAmb:\t0\n`;
  return `Uid:\t${ids}\nGid:\t0\t0\t0\t0\nGroups:\t\n${sets}NoNewPrivs:\t0\nSeccomp:\t0\n`;
}

function said(findings: readonly AreaFinding[], item: string): string {
  const finding = findings.find((each) => each.item === item);
  assert.ok(finding, `${item} is among ${findings.map((each) => each.item).join(", ")}`);
  return `${finding.state}: ${finding.found}`;
}

/** `/proc/net/tcp` with a socket that listens at each of these ports; its inode is the port's number. */
function tcpTable(...ports: readonly number[]): string {
  const rows = ports.map((port, row) =>
    `   ${row}: 0100007F:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A 00000000:00000000 ` +
    `00:00000000 00000000     0        0 ${port} 1 0000000000000000 100 0 0 10 0`
  );
  return ["  sl  local_address rem_address   st", ...rows, ""].join("\n");
}

test("root needs four capabilities, and each that is missing is a problem", () => {
  using host = new FakeHost({ "/proc/self/status": status(0, "00000000000000c3") });
  assert.match(said(checkRights(settingsOf(), host.files, OWN_USER, []), "this user"), /^ok: root/);
  host.write("/proc/self/status", status(0, "00000000000000c1"));
  assert.match(said(checkRights(settingsOf(), host.files, OWN_USER, []), "this user"), /^problem: .*CAP_DAC_OVERRIDE/);
  host.write("/proc/self/status", status(1000, "0"));
  assert.match(said(checkRights(settingsOf(), host.files, OWN_USER, []), "this user"), /^note: uid 1000/);
});

test("the user to run as is the packages' own, or a shared one with a warning, or a problem", () => {
  using host = new FakeHost();
  const user = (users: UserDatabase, ...words: string[]) =>
    said(checkRights(settingsOf(...words), host.files, users, []), "user to run as");
  assert.equal(user(OWN_USER), "ok: kata-trace-forwarder (uid 990)");
  assert.match(user(ONLY_NOBODY), /^warning: nobody/);
  assert.match(user(NO_USERS), /^problem: there is no user "nobody"/);
  assert.match(user(OWN_USER, "--user", "other"), /^problem: there is no user "other"/);
});

test("a socket directory must not belong to somebody else, and a fixed one must exist", () => {
  using host = new FakeHost();
  const findings = checkRights(settingsOf("--socket-path", "/run/x/vm.sock"), host.files, OWN_USER, []);
  assert.equal(said(findings, "/run/x"), "problem: missing");
  assert.match(said(checkRights(settingsOf(), host.files, OWN_USER, []), "/run/vc/vm"), /^note: not there yet/);
});

test("a forwarder that receives is told from its other commands", () => {
  using host = new FakeHost();
  host.process(7, ["/usr/bin/kata-trace-forwarder", "--all-hypervisors"]);
  host.process(8, ["kata-trace-forwarder", "check"]);
  host.process(9, ["/usr/bin/kata-trace-forwarder"]);
  const findings = checkRights(settingsOf(), host.files, OWN_USER, listProcesses(host.files));
  assert.equal(said(findings, "forwarder"), "ok: runs already (process 7, 9)");
});

test("ports are free, taken by the collector, by a forwarder, or in the way", () => {
  using host = new FakeHost({ "/proc/net/tcp": tcpTable(4317, 14268) });
  host.process(77, ["jaeger"]);
  host.link("socket:[14268]", "/proc/77/fd/3");
  assert.equal(
    said(checkPorts(settingsOf(), host.files), "tcp 14268"),
    "note: taken by jaeger (process 77): runtimes' spans (jaeger_endpoint)",
  );
  assert.match(
    said(checkPorts(settingsOf(), host.files), "tcp 4317"),
    /^note: .*may not look into.*spans are sent there/,
  );
  assert.match(said(checkPorts(settingsOf(), host.files), "tcp 4318"), /^note: free/);
  assert.match(
    said(checkPorts(settingsOf("--jaeger-listen", "14268"), host.files), "tcp 14268"),
    /^problem: taken by jaeger/,
  );
  assert.match(said(checkPorts(settingsOf("--all-sources"), host.files), "tcp 14268"), /^warning: taken by jaeger/);
  assert.match(said(checkPorts(settingsOf("--metrics", "9464"), host.files), "tcp 9464"), /^ok: free for --metrics/);
  host.process(77, ["kata-trace-forwarder"]);
  assert.match(said(checkPorts(settingsOf("--jaeger-listen", "14268"), host.files), "tcp 14268"), /^ok: taken by kata/);
});

test("disk: a missing directory, a file in the way, too little room", () => {
  using host = new FakeHost({ "/var/lib/x/file": "" });
  assert.match(said(checkDisk(settingsOf(), host.files), "--spool-dir"), /^note: not set/);
  const spool = (path: string, ...more: string[]) =>
    said(checkDisk(settingsOf("--spool-dir", path, ...more), host.files), `--spool-dir ${path}`);
  assert.match(spool("/srv/none/spool"), /^problem: there is no directory \/srv\/none/);
  assert.match(spool("/var/lib/x/file"), /^problem: is a file/);
  assert.match(spool("/var/lib/x/spool", "--spool-bytes", "8MiB"), /^ok: \d+ MiB free for at most 8 MiB/);
  assert.match(spool("/var/lib/x/spool", "--spool-bytes", "8000000GiB"), /^warning: .*it may take 8192000000 MiB/);
});

test("guests' clocks need the TSC on x86, and ptp_kvm in their kernel", () => {
  using host = new FakeHost({
    "/sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
    "/opt/kata/share/kata-containers/config-6.12": "CONFIG_PTP_1588_CLOCK=y\n# CONFIG_PTP_1588_CLOCK_KVM is not set\n",
    "/opt/kata/share/kata-containers/config-6.18": "CONFIG_PTP_1588_CLOCK_KVM=y\n",
  });
  host.process(5, ["/usr/sbin/chronyd", "-F", "1"]);
  const findings = checkTime(host.files, listProcesses(host.files), "x64");
  assert.equal(said(findings, "the host's clock"), "ok: kept by chronyd (process 5)");
  assert.match(said(findings, "clock source"), /^warning: hpet/);
  assert.match(said(checkTime(host.files, [], "arm64"), "clock source"), /^ok: hpet/);
  assert.match(said(findings, "/opt/kata/share/kata-containers/config-6.12"), /^warning/);
  assert.match(said(findings, "/opt/kata/share/kata-containers/config-6.18"), /^ok/);
});

test("limits are compared with the settings", () => {
  using host = new FakeHost({
    "/proc/self/limits": "Limit\nMax open files            1024                 524288               files\n",
    "/proc/sys/fs/inotify/max_user_instances": "2\n",
    "/proc/sys/fs/inotify/max_user_watches": "65536\n",
    "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    2097152 kB\n",
    "/proc/self/cgroup": "0::/system.slice/x.service\n",
    "/sys/fs/cgroup/system.slice/x.service/memory.max": "104857600\n",
    "/proc/self/maps":
      "7f00-7f01 r-xp 00000000 fe:01 99 /usr/lib/libc.so.6\n7f02-7f03 r-xp 00000000 00:00 0                 [vdso]\n",
  });
  const findings = checkLimits(settingsOf(), host.files);
  assert.match(said(findings, "open files"), /^warning: 1024 here/);
  assert.match(said(findings, "inotify max_user_instances"), /^warning: 2/);
  assert.equal(said(findings, "inotify max_user_watches"), "ok: 65536");
  assert.equal(said(findings, "memory"), "warning: 100 MiB for at most 347 MiB");
  assert.match(said(findings, "executable memory"), /^note: this process has none/);
  host.write("/sys/fs/cgroup/system.slice/x.service/memory.max", "max\n");
  host.write("/proc/self/maps", "7f00-7f01 rwxp 00000000 00:00 0 \n");
  assert.equal(said(checkLimits(settingsOf(), host.files), "memory"), "ok: 2048 MiB for at most 347 MiB");
  assert.match(said(checkLimits(settingsOf(), host.files), "executable memory"), /^ok/);
  host.write("/sys/fs/selinux/booleans/deny_execmem", "1 1");
  assert.match(said(checkLimits(settingsOf(), host.files), "executable memory"), /^problem: SELinux/);
});

test("a host without /proc is a host of which nothing can be seen", () => {
  using host = new FakeHost();
  const findings = [
    ...checkLimits(settingsOf(), host.files),
    ...checkPorts(settingsOf(), host.files),
    ...checkTime(host.files, [], "x64"),
  ];
  assert.deepEqual(findings.filter(({ state }) => state === "problem" || state === "warning"), []);
});
