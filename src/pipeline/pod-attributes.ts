/** Resource attributes that say which pod a sandbox is (OpenTelemetry semantic conventions, `k8s` and `container`). */
export const POD_NAME = "k8s.pod.name";
export const NAMESPACE = "k8s.namespace.name";
export const POD_UID = "k8s.pod.uid";
/** The sandbox's own container. */
export const CONTAINER_ID = "container.id";
export const RUNTIME_NAME = "container.runtime.name";

/** All of them. */
export const POD_ATTRIBUTES: readonly string[] = [POD_NAME, NAMESPACE, POD_UID, CONTAINER_ID, RUNTIME_NAME];
