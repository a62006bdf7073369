//! How an agent's spans come about: `tracing`, tracing-opentelemetry's layer and the SDK's batch processor, wired as in
//! the agent. Each encoding is written by agents of another generation of these crates.

mod bincode;
mod json;

use crate::encoding::Encoding;
use crate::endpoint::Endpoint;
use crate::exporter::Exports;
use crate::rng::SeededIds;
use tracing::Span;

/// What a session's spans are made with and sent to.
pub struct Agent {
    pub endpoint: Endpoint,
    pub encoding: Encoding,
    pub exports: Exports,
    pub ids: SeededIds,
    /// Attributes of the spans' own resource; without any, whatever the generation makes of that.
    pub resource: Vec<(String, String)>,
}

/// What depends on the generation while spans are traced.
pub trait Telemetry {
    /// Gives a span the parent that a request came with, as the agent does with every RPC: without a traceparent the
    /// span becomes the root of a trace of its own.
    fn set_parent(&self, span: &Span, traceparent: Option<&str>);

    /// Sends what has ended.
    fn flush(&self);
}

impl Agent {
    /// Runs `body` with its spans traced and sent over a connection of their own, which ends with it.
    pub fn trace(&self, body: impl FnOnce(&dyn Telemetry)) {
        match self.encoding {
            Encoding::Bincode => bincode::trace(self, body),
            Encoding::Json => json::trace(self, body),
        }
    }
}
