//! The forwarder as one would naturally write it in Rust: tokio reads the guests' frames, the agents' crates decode
//! them, prost encodes them, and hyper or tonic sends them. It has none of the forwarder's limits, queues and retries.

mod convert;
mod send;

use anyhow::{Result, bail};
use opentelemetry_proto::tonic::trace::v1::Span;
use pico_args::Arguments;
use send::Sender;
use std::time::Duration;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{self, Receiver, Sender as Channel};
use tokio::time::{Instant, sleep_until};

/// What the forwarder itself has: a request's spans, how long a batch waits for them, and requests under way.
const BATCH_SPANS: usize = 2048;
const BATCH_WAIT: Duration = Duration::from_millis(50);
const REQUESTS: usize = 4;
/// How much is read at once, bytes.
const READ_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy)]
enum Encoding {
    Bincode,
    Json,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = Arguments::from_env();
    let path: String = arguments.value_from_str("--unix")?;
    let endpoint: String = arguments.value_from_str("--endpoint")?;
    let encoding = match arguments.value_from_str::<_, String>("--encoding")?.as_str() {
        "bincode" => Encoding::Bincode,
        "json" => Encoding::Json,
        other => bail!("no encoding {other:?}"),
    };
    let sender = match arguments.value_from_str::<_, String>("--protocol")?.as_str() {
        "grpc" => Sender::grpc(endpoint)?,
        "http/protobuf" => Sender::http(endpoint)?,
        other => bail!("no protocol {other:?}"),
    };
    let (channel, spans) = mpsc::channel(2 * BATCH_SPANS);
    tokio::spawn(batches(spans, sender));
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let channel = channel.clone();
        tokio::spawn(async move {
            if let Err(error) = guest(stream, encoding, channel).await {
                eprintln!("rust-forwarder: {error:#}");
            }
        });
    }
}

/// Reads one guest's frames until it closes its connection.
async fn guest(stream: UnixStream, encoding: Encoding, channel: Channel<Span>) -> Result<()> {
    let mut input = BufReader::with_capacity(READ_BYTES, stream);
    let mut payload = Vec::new();
    loop {
        let length = match input.read_u64().await {
            Ok(length) => length as usize,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        payload.resize(length, 0);
        input.read_exact(&mut payload).await?;
        let span = match encoding {
            Encoding::Bincode => convert::v0_14::span(bincode::deserialize(&payload)?),
            Encoding::Json => convert::v0_17::span(serde_json::from_slice(&payload)?),
        };
        channel.send(span).await?;
    }
}

/// Sends spans in batches, a few at the same time.
async fn batches(mut spans: Receiver<Span>, sender: Sender) {
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(REQUESTS));
    while let Some(first) = spans.recv().await {
        let mut batch = vec![first];
        let deadline = Instant::now() + BATCH_WAIT;
        while batch.len() < BATCH_SPANS {
            let missing = BATCH_SPANS - batch.len();
            tokio::select! {
                received = spans.recv_many(&mut batch, missing) => if received == 0 { break },
                _ = sleep_until(deadline) => break,
            }
        }
        let permit = permits.clone().acquire_owned().await.expect("it is never closed");
        let sender = sender.clone();
        tokio::spawn(async move {
            if let Err(error) = sender.send(batch).await {
                eprintln!("rust-forwarder: {error:#}");
            }
            drop(permit);
        });
    }
}
