import type { SandboxSummary } from "../api.ts";

/**
 * Whether a sandbox fits a text of words, all of which must hold: `pod:`, `sandbox:` and `cid:` ask for one thing, any
 * other word may stand in the ID, pod, namespace, label or hypervisor.
 */
export function fitsQuery(sandbox: SandboxSummary, query: string): boolean {
  const { id, pod = "", namespace = "", label, vmm = "", cid } = sandbox;
  const all = [id, pod, namespace, label, vmm].join(" ").toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => {
    const [, field, value = ""] = /^(pod|sandbox|cid):(.*)$/.exec(word) ?? [];
    switch (field) {
      case "pod":
        return `${namespace}/${pod}`.toLowerCase().includes(value);
      case "sandbox":
        return id.toLowerCase().includes(value);
      case "cid":
        return value === "" || String(cid) === value;
      default:
        return all.includes(word);
    }
  });
}
