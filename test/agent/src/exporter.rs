//! Sends spans as the Kata agent's vsock exporter does.

use crate::encoding::Encoding;
use crate::endpoint::{Endpoint, VsockAddress};
use crate::frame;
use crate::meaning::Meaning;
use crate::telemetry::Agent;
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_vsock::{VsockAddr, VsockStream};

/// What the exporters of a session were given, and how much of it they sent.
#[derive(Clone, Default)]
pub struct Exports(Arc<Mutex<ExportsSoFar>>);

#[derive(Default)]
struct ExportsSoFar {
    meanings: Vec<String>,
    sent: usize,
}

impl Exports {
    fn lock(&self) -> MutexGuard<'_, ExportsSoFar> {
        self.0.lock().expect("no user of it panics")
    }

    /// What each span means, a line for each; an error when not all were sent.
    pub fn finish(self) -> Result<Vec<String>> {
        let ExportsSoFar { meanings, sent } = std::mem::take(&mut *self.lock());
        ensure!(sent == meanings.len(), "only {sent} of {} spans were sent: the reason is above", meanings.len());
        Ok(meanings)
    }
}

/// Connects at its first export, keeps the connection until it is shut down, and never reads from it.
pub struct FrameSender {
    endpoint: Endpoint,
    encoding: Encoding,
    exports: Exports,
    connection: Option<Box<dyn AsyncWrite + Send + Unpin>>,
}

impl FrameSender {
    pub fn new(agent: &Agent) -> Self {
        FrameSender {
            endpoint: agent.endpoint.clone(),
            encoding: agent.encoding,
            exports: agent.exports.clone(),
            connection: None,
        }
    }

    /// Sends a batch of encoded spans, and notes what they mean.
    pub async fn export(&mut self, payloads: Vec<Result<Vec<u8>>>) -> Result<()> {
        let payloads = payloads.into_iter().collect::<Result<Vec<_>>>()?;
        for payload in &payloads {
            let meaning = serde_json::to_string(&Meaning::from(&self.encoding.decode(payload)?))?;
            self.exports.lock().meanings.push(meaning);
        }
        if let Err(error) = self.send(&payloads).await {
            eprintln!("{}: {error:#}; connecting again to send all {} spans", self.endpoint, payloads.len());
            self.connection = None;
            self.send(&payloads).await?;
        }
        self.exports.lock().sent += payloads.len();
        Ok(())
    }

    pub fn shutdown(&mut self) {
        self.connection = None;
    }

    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(connect(&self.endpoint).await?),
        };
        for payload in payloads {
            // Two writes, as the agent has it: a header can arrive without its payload.
            connection.write_all(&frame::header(payload)).await.context("cannot write a header")?;
            connection.write_all(payload).await.context("cannot write a payload")?;
        }
        Ok(())
    }
}

async fn connect(endpoint: &Endpoint) -> Result<Box<dyn AsyncWrite + Send + Unpin>> {
    let cannot = || format!("cannot connect to {endpoint}");
    Ok(match endpoint {
        Endpoint::Vsock(VsockAddress { cid, port }) => {
            Box::new(VsockStream::connect(VsockAddr::new(*cid, *port)).await.with_context(cannot)?)
        }
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.with_context(cannot)?),
    })
}

impl fmt::Debug for FrameSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSender").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
