//! A sandbox's life, traced as an agent traces it: the RPCs that a runtime makes, each a span with child spans.

use crate::rng::Rng;
use crate::spans::requests::{Request, Sandbox};
use crate::telemetry::{Agent, Telemetry};
use anyhow::{Result, bail};
use std::str::FromStr;
use std::thread;
use std::time::Duration;
use tracing::{Level, Span, field, span};

/// An RPC of the agent's interface, or a function that one calls.
struct Call {
    name: &'static str,
    calls: &'static [Call],
}

const fn call(name: &'static str, calls: &'static [Call]) -> Call {
    Call { name, calls }
}

const RPCS: [Call; 13] = [
    call(
        "create_sandbox",
        &[
            call("setup_shared_namespaces", &[]),
            call("add_storages", &[call("mount_storage", &[call("baremount", &[])])]),
        ],
    ),
    call("update_interface", &[call("link_update", &[]), call("enable_link", &[])]),
    call("update_routes", &[call("route_add", &[])]),
    call("online_cpu_mem", &[call("online_cpus", &[]), call("online_memory", &[])]),
    call("get_guest_details", &[]),
    call(
        "create_container",
        &[call(
            "do_create_container",
            &[call("add_devices", &[]), call("add_storages", &[]), call("setup_bundle", &[]), call("start", &[])],
        )],
    ),
    call("start_container", &[call("do_start_container", &[call("exec", &[])])]),
    call("wait_process", &[call("do_wait_process", &[])]),
    call("read_stdout", &[]),
    call("stats_container", &[call("get_stats", &[])]),
    call("signal_process", &[call("do_signal_process", &[])]),
    call("remove_container", &[call("do_remove_container", &[call("destroy", &[])])]),
    call("destroy_sandbox", &[call("destroy", &[])]),
];

/// The call that fails in every session, so that each has an error; an agent's spans never tell of one.
const FAILING_CALL: &str = "route_add";

/// A span whose name is not known before: `tracing` wants each name where the span is made.
macro_rules! named_span {
    ($name:expr, [$($literal:literal)*], $fields:tt) => {
        match $name {
            $($literal => named_span!($literal, $fields),)*
            other => unreachable!("no span for {other}"),
        }
    };
    ($literal:literal, { $($fields:tt)* }) => {
        span!(Level::INFO, $literal, $($fields)*)
    };
}

/// Whose trace the RPCs' spans belong to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Each RPC begins a trace of its own, since no parent comes with its request.
    Isolated,
    /// The runtime's: it sends the parent of each along with the request.
    Collated,
}

/// How long a connection lives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Connections {
    /// As long as the agent.
    Static,
    /// As long as an RPC.
    Dynamic,
}

pub struct Session {
    pub mode: Mode,
    pub connections: Connections,
    pub sandbox_id: String,
    /// The parent of every RPC in collated mode; without one, each RPC has a parent of its own, in one trace.
    pub traceparent: Option<String>,
    /// How long to wait after each RPC, what was traced having been sent.
    pub pace: Duration,
    pub rng: Rng,
}

impl Session {
    /// Traces the sandbox's life.
    pub fn run(mut self, agent: &Agent) {
        agent.trace(|telemetry| {
            let runtime_trace_id = self.rng.u128();
            // It is not entered while RPCs are answered, because the agent answers them on other threads.
            let _root = span!(Level::TRACE, "root-span");
            for (sequence, rpc) in RPCS.iter().enumerate() {
                let traceparent = match self.mode {
                    Mode::Isolated => None,
                    Mode::Collated => Some(self.runtime_parent(runtime_trace_id)),
                };
                match self.connections {
                    Connections::Static => self.trace_rpc(telemetry, traceparent.as_deref(), rpc, sequence),
                    Connections::Dynamic => agent.trace(|telemetry| {
                        self.trace_rpc(telemetry, traceparent.as_deref(), rpc, sequence);
                    }),
                }
                if !self.pace.is_zero() {
                    telemetry.flush();
                    thread::sleep(self.pace);
                }
            }
        });
    }

    /// What the runtime sends along with a request.
    fn runtime_parent(&mut self, trace_id: u128) -> String {
        self.traceparent.clone().unwrap_or_else(|| format!("00-{trace_id:032x}-{:016x}-01", self.rng.u64()))
    }

    /// As the agent's `trace_rpc_call!` has it.
    fn trace_rpc(&mut self, telemetry: &dyn Telemetry, traceparent: Option<&str>, rpc: &Call, sequence: usize) {
        let request = Request::new(rpc.name, &self.sandbox_id, sequence, &mut self.rng);
        let span = named_span!(
            rpc.name,
            [
                "create_sandbox" "update_interface" "update_routes" "online_cpu_mem" "get_guest_details"
                "create_container" "start_container" "wait_process" "read_stdout" "stats_container" "signal_process"
                "remove_container" "destroy_sandbox"
            ],
            { "mod" = "rpc.rs", req = ?request }
        );
        telemetry.set_parent(&span, traceparent);
        let _entered = span.enter();
        self.trace_calls(rpc);
    }

    fn trace_calls(&mut self, caller: &Call) {
        for call in caller.calls {
            let span = self.child(call);
            let _entered = span.enter();
            tracing::info!(target: "kata_agent::rpc", "called");
            pass_time();
            self.trace_calls(call);
            if call.name == FAILING_CALL {
                span.record("otel.status_code", "ERROR");
                span.record("otel.status_message", "rtnetlink: File exists (os error 17)");
            }
        }
        pass_time();
    }

    /// As `#[instrument]` has it: the arguments of a function are its span's fields.
    fn child(&mut self, call: &Call) -> Span {
        let sandbox = Sandbox::new(&self.sandbox_id, &mut self.rng);
        named_span!(
            call.name,
            [
                "setup_shared_namespaces" "add_storages" "mount_storage" "baremount" "link_update" "enable_link"
                "route_add" "online_cpus" "online_memory" "do_create_container" "add_devices" "setup_bundle" "start"
                "do_start_container" "exec" "do_wait_process" "get_stats" "do_signal_process" "do_remove_container"
                "destroy"
            ],
            {
                self = ?sandbox,
                sandbox_id = self.sandbox_id.as_str(),
                otel.status_code = field::Empty,
                otel.status_message = field::Empty
            }
        )
    }
}

/// Lets spans begin one after the other, to the microsecond.
fn pass_time() {
    thread::sleep(Duration::from_micros(20));
}

/// Refuses what is not a W3C `traceparent` header, which the SDK would leave out without a word.
pub fn check_traceparent(traceparent: &str) -> Result<()> {
    let parts: Vec<_> = traceparent.split('-').collect();
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, digits: usize| is_hex(text, digits) && text.bytes().any(|byte| byte != b'0');
    match parts[..] {
        ["00", trace, span, flags] if is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2) => Ok(()),
        _ => bail!(
            "{traceparent:?} is not a W3C traceparent, such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ),
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "isolated" => Mode::Isolated,
            "collated" => Mode::Collated,
            _ => bail!("no mode {name:?}: it is isolated or collated"),
        })
    }
}

impl FromStr for Connections {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "static" => Connections::Static,
            "dynamic" => Connections::Dynamic,
            _ => bail!("no such connections {name:?}: they are static or dynamic"),
        })
    }
}
