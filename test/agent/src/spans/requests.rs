//! What an agent's spans show of its requests and of itself: Rust's debug text, full of quotes, and with it secrets,
//! such as the container's environment. Sizes are those of containers with small specifications.

use crate::rng::Rng;

/// A request.
#[derive(Debug)]
#[expect(dead_code, reason = "the fields are for the debug text")]
pub struct Request {
    rpc: &'static str,
    container_id: String,
    exec_id: String,
    string_user: Option<String>,
    oci: Option<Spec>,
    seq: usize,
}

#[derive(Debug)]
#[expect(dead_code, reason = "the fields are for the debug text")]
struct Spec {
    version: String,
    process: Process,
    hostname: String,
    mounts: Vec<Mount>,
    annotations: Vec<(String, String)>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "the fields are for the debug text")]
struct Process {
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
}

#[derive(Debug)]
#[expect(dead_code, reason = "the fields are for the debug text")]
struct Mount {
    destination: String,
    source: String,
    type_: String,
    options: Vec<String>,
}

/// What the agent knows of its sandbox, which it shows with every method that it calls on it.
#[derive(Debug)]
#[expect(dead_code, reason = "the fields are for the debug text")]
pub struct Sandbox {
    id: String,
    hostname: String,
    running: bool,
    mounts: Vec<String>,
    container_mounts: Vec<(String, Vec<String>)>,
    uevents: Vec<String>,
    hooks: Option<String>,
}

/// The RPCs whose requests have a container's specification.
const WITH_SPEC: [&str; 1] = ["create_container"];

impl Request {
    pub fn new(rpc: &'static str, sandbox_id: &str, seq: usize, rng: &mut Rng) -> Self {
        Request {
            rpc,
            container_id: sandbox_id.to_string(),
            exec_id: String::new(),
            string_user: None,
            oci: WITH_SPEC.contains(&rpc).then(|| Spec::new(rng)),
            seq,
        }
    }
}

impl Spec {
    fn new(rng: &mut Rng) -> Self {
        Spec {
            version: "1.1.0".into(),
            process: Process {
                args: vec!["/bin/sh".into(), "-c".into(), "echo \"it's\\there\" > /dev/null\n".into()],
                env: (0..16).map(|i| format!("SECRET_{i}=\"{:032x}\"", rng.u128())).collect(),
                cwd: "/".into(),
            },
            hostname: "größe".into(),
            mounts: (0..12)
                .map(|i| Mount {
                    destination: format!("/mnt/{i}"),
                    source: format!("/run/kata-containers/shared/containers/{:032x}", rng.u128()),
                    type_: "bind".into(),
                    options: vec!["rbind".into(), "rprivate".into(), "ro".into()],
                })
                .collect(),
            annotations: (0..6).map(|i| (format!("io.katacontainers.{i}"), "{\"a\":[\"b\"]}".repeat(8))).collect(),
        }
    }
}

impl Sandbox {
    pub fn new(id: &str, rng: &mut Rng) -> Self {
        Sandbox {
            id: id.to_string(),
            hostname: "guest".into(),
            running: true,
            mounts: (0..4).map(|_| format!("/run/kata-containers/sandbox/{:016x}", rng.u64())).collect(),
            container_mounts: (0..4)
                .map(|i| (format!("{:032x}", rng.u128()), vec![format!("/dev/\"shm\"/{i}"); 3]))
                .collect(),
            uevents: (0..8).map(|i| format!("ACTION=add\0DEVPATH=/devices/pci0000:00/{i:02x}")).collect(),
            hooks: None,
        }
    }
}
