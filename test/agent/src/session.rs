//! A sandbox's life, traced through the SDK: the RPCs that a runtime makes, each a span with child spans.

use crate::rng::Rng;
use anyhow::{Result, bail};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::sdk::propagation::TraceContextPropagator;
use opentelemetry::sdk::trace::{Tracer, TracerProvider};
use opentelemetry::trace::{StatusCode, TraceContextExt, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use std::collections::HashMap;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, SystemTime};

/// An RPC of the agent's interface, or a function that one calls.
struct Call {
    name: &'static str,
    calls: &'static [Call],
}

struct Rpc {
    request: &'static str,
    call: Call,
}

const fn rpc(request: &'static str, name: &'static str, calls: &'static [Call]) -> Rpc {
    Rpc { request, call: Call { name, calls } }
}

const fn call(name: &'static str, calls: &'static [Call]) -> Call {
    Call { name, calls }
}

const RPCS: [Rpc; 13] = [
    rpc(
        "CreateSandboxRequest",
        "create_sandbox",
        &[
            call("setup_shared_namespaces", &[]),
            call("add_storages", &[call("mount_storage", &[call("baremount", &[])])]),
        ],
    ),
    rpc("UpdateInterfaceRequest", "update_interface", &[call("link_update", &[]), call("enable_link", &[])]),
    rpc("UpdateRoutesRequest", "update_routes", &[call("route_add", &[])]),
    rpc("OnlineCPUMemRequest", "online_cpu_mem", &[call("online_cpus", &[]), call("online_memory", &[])]),
    rpc("GuestDetailsRequest", "get_guest_details", &[]),
    rpc(
        "CreateContainerRequest",
        "create_container",
        &[call(
            "do_create_container",
            &[call("add_devices", &[]), call("add_storages", &[]), call("setup_bundle", &[]), call("start", &[])],
        )],
    ),
    rpc("StartContainerRequest", "start_container", &[call("do_start_container", &[call("exec", &[])])]),
    rpc("WaitProcessRequest", "wait_process", &[call("do_wait_process", &[])]),
    rpc("ReadStreamRequest", "read_stdout", &[]),
    rpc("StatsContainerRequest", "stats_container", &[call("get_stats", &[])]),
    rpc("SignalProcessRequest", "signal_process", &[call("do_signal_process", &[])]),
    rpc("RemoveContainerRequest", "remove_container", &[call("do_remove_container", &[call("destroy", &[])])]),
    rpc("DestroySandboxRequest", "destroy_sandbox", &[call("destroy", &[])]),
];

/// The call that fails in every session, so that each has an error.
const FAILING_CALL: &str = "route_add";

/// Whose trace the RPCs' spans belong to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The agent's: they are children of its root span.
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
    pub runtime_parent: Option<Context>,
    /// How long to wait after each RPC, what was traced having been sent.
    pub pace: Duration,
    /// The time in the session, which moves on without anyone waiting.
    pub clock: SystemTime,
    pub rng: Rng,
}

impl Session {
    /// Traces the sandbox's life. `connect` gives a provider, and with it a connection, which ends when it is dropped.
    pub fn run(mut self, connect: impl Fn() -> TracerProvider) {
        let provider = connect();
        let tracer = tracer(&provider);
        let runtime_trace_id = self.rng.u128();
        let start = self.clock;
        let root = Context::new().with_span(tracer.span_builder("root-span").with_start_time(start).start(&tracer));
        for (sequence, rpc) in RPCS.iter().enumerate() {
            let parent = match self.mode {
                Mode::Isolated => root.clone(),
                Mode::Collated => self.collated_parent(runtime_trace_id),
            };
            match self.connections {
                Connections::Static => self.trace_rpc(&tracer, &parent, rpc, sequence),
                Connections::Dynamic => {
                    let provider = connect();
                    self.trace_rpc(&self::tracer(&provider), &parent, rpc, sequence);
                }
            }
            if !self.pace.is_zero() {
                provider.force_flush();
                thread::sleep(self.pace);
            }
            self.pass_milliseconds(20);
        }
        end(&root, start, self.clock);
    }

    /// What the runtime sends along with a request, as the agent understands it.
    fn collated_parent(&mut self, trace_id: u128) -> Context {
        self.runtime_parent.clone().unwrap_or_else(|| {
            let traceparent = format!("00-{trace_id:032x}-{:016x}-01", self.rng.u64());
            remote_parent(&traceparent).expect("it is made as W3C says")
        })
    }

    fn trace_rpc(&mut self, tracer: &Tracer, parent: &Context, rpc: &Rpc, sequence: usize) {
        let request = format!(
            "{} {{ container_id: {:?}, exec_id: \"\", string_user: None, seq: {sequence} }}",
            rpc.request, self.sandbox_id
        );
        let attributes = vec![KeyValue::new("mod", "rpc.rs"), KeyValue::new("req", request)];
        let (context, start) = self.start(tracer, parent, &rpc.call, attributes);
        self.trace_calls(tracer, &context, &rpc.call);
        end(&context, start, self.clock);
    }

    fn trace_calls(&mut self, tracer: &Tracer, parent: &Context, call: &Call) {
        self.clock += Duration::from_micros(20);
        for call in call.calls {
            let attributes = vec![KeyValue::new("sandbox_id", self.sandbox_id.clone())];
            let (context, start) = self.start(tracer, parent, call, attributes);
            let level_and_target = vec![KeyValue::new("level", "INFO"), KeyValue::new("target", "kata_agent::rpc")];
            let entered = start + Duration::from_nanos(10);
            context.span().add_event_with_timestamp(format!("in {}", call.name), entered, level_and_target);
            self.trace_calls(tracer, &context, call);
            if call.name == FAILING_CALL {
                context.span().set_status(StatusCode::Error, "rtnetlink: File exists (os error 17)".into());
            }
            end(&context, start, self.clock);
        }
        self.pass_milliseconds(10);
    }

    fn start(
        &self,
        tracer: &Tracer,
        parent: &Context,
        call: &Call,
        attributes: Vec<KeyValue>,
    ) -> (Context, SystemTime) {
        let span = tracer
            .span_builder(call.name)
            .with_parent_context(parent.clone())
            .with_start_time(self.clock)
            .with_attributes(attributes)
            .start(tracer);
        (parent.with_span(span), self.clock)
    }

    fn pass_milliseconds(&mut self, most: u64) {
        self.clock += Duration::from_nanos(self.rng.below(most * 1_000_000));
    }
}

/// Ends the context's span as the agent's tracing layer does: with how long it was busy and idle.
fn end(context: &Context, start: SystemTime, end: SystemTime) {
    let span = context.span();
    let nanoseconds = end.duration_since(start).expect("a session's clock moves on").as_nanos() as i64;
    let idle = nanoseconds * 3 / 10;
    span.set_attribute(KeyValue::new("busy_ns", nanoseconds - idle));
    span.set_attribute(KeyValue::new("idle_ns", idle));
    span.end_with_timestamp(end);
}

fn tracer(provider: &TracerProvider) -> Tracer {
    provider.get_tracer("kata-agent", None)
}

/// The context that a W3C `traceparent` header gives.
pub fn remote_parent(traceparent: &str) -> Result<Context> {
    let headers = HashMap::from([("traceparent".to_string(), traceparent.to_string())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    if !context.span().span_context().is_valid() {
        bail!("{traceparent:?} is no W3C traceparent, such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    }
    Ok(context)
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
