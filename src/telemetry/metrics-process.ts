import { readdirSync, readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import process from "node:process";
import type { Family } from "./metrics-text.ts";

/**
 * The process's own metrics, with the names that every Prometheus client uses. On a system without `/proc` some are
 * left out.
 *
 * Specification: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
 */
export function processFamilies(): Family[] {
  const { user, system } = process.cpuUsage();
  return [
    {
      name: "process_cpu_seconds_total",
      help: "User and system CPU time spent.",
      type: "counter",
      samples: [{ value: (user + system) / 1e6 }],
    },
    ...gauge("process_resident_memory_bytes", "Resident memory size.", process.memoryUsage().rss),
    ...gauge("process_open_fds", "Open file descriptors.", openFileDescriptors()),
    ...gauge("process_max_fds", "Open file descriptors allowed.", maxFileDescriptors()),
    ...gauge(
      "process_start_time_seconds",
      "Unix time when the process started.",
      performance.timeOrigin / 1000,
    ),
  ];
}

function gauge(name: string, help: string, value: number | undefined): Family[] {
  return value === undefined ? [] : [{ name, help, type: "gauge", samples: [{ value }] }];
}

function openFileDescriptors(): number | undefined {
  // One of them is the directory itself, opened to read it.
  const descriptors = inProc(() => readdirSync("/proc/self/fd"));
  return descriptors === undefined ? undefined : descriptors.length - 1;
}

function maxFileDescriptors(): number | undefined {
  const limits = inProc(() => readFileSync("/proc/self/limits", "utf8"));
  const soft = limits && /^Max open files +(\d+|unlimited)/m.exec(limits)?.[1];
  if (soft === undefined) return undefined;
  return soft === "unlimited" ? Infinity : Number(soft);
}

/**
 * Reads in `/proc`, which may be missing or hidden (`hidepid`, a chroot). In that case there is just less to show.
 */
function inProc<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "EACCES" || code === "EPERM") return undefined;
    throw error;
  }
}
