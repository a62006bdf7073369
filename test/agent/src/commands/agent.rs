//! A traced agent: one sandbox's life or several at the same time, sent to a forwarder.

use crate::encoding::Encoding;
use crate::endpoint::Endpoint;
use crate::exporter::Exports;
use crate::rng::{Rng, SeededIds};
use crate::session::{Connections, Mode, Session, check_traceparent};
use crate::telemetry::Agent;
use anyhow::{Context, Result, ensure};
use pico_args::Arguments;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

struct Settings {
    endpoint: Endpoint,
    encoding: Encoding,
    mode: Mode,
    connections: Connections,
    traceparent: Option<String>,
    pace: Duration,
    resource: Vec<(String, String)>,
    sandbox_id: Option<String>,
}

pub fn run(mut arguments: Arguments) -> Result<()> {
    let traceparent: Option<String> = arguments.opt_value_from_str("--traceparent")?;
    traceparent.as_deref().map(check_traceparent).transpose()?;
    let settings = Settings {
        endpoint: Endpoint::from_arguments(&mut arguments)?,
        encoding: arguments.opt_value_from_str("--encoding")?.unwrap_or(Encoding::Bincode),
        mode: arguments.opt_value_from_str("--mode")?.unwrap_or(Mode::Isolated),
        connections: arguments.opt_value_from_str("--connections")?.unwrap_or(Connections::Static),
        traceparent,
        pace: Duration::from_millis(arguments.opt_value_from_str("--pace")?.unwrap_or(0)),
        resource: arguments.values_from_fn("--resource", key_value)?,
        sandbox_id: arguments.opt_value_from_str("--sandbox-id")?,
    };
    ensure!(
        settings.traceparent.is_none() || settings.mode == Mode::Collated,
        "--traceparent needs --mode collated: an isolated agent begins traces of its own"
    );
    let sessions: u64 = arguments.opt_value_from_str("--sessions")?.unwrap_or(1);
    let seed: u64 = arguments.opt_value_from_str("--seed")?.unwrap_or_else(seed_from_clock);
    let expected: Option<PathBuf> = arguments.opt_value_from_str("--expected")?;
    super::finish(arguments)?;

    // The SDK's batch processor takes its clock from the runtime that the agent runs on.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let seeds = Rng::new(seed).many(sessions, Rng::u64);
    let settings = &settings;
    let lines = thread::scope(|scope| -> Result<Vec<String>> {
        let trace = |seed| {
            let handle = runtime.handle().clone();
            scope.spawn(move || {
                let _entered = handle.enter();
                trace(settings, seed)
            })
        };
        let sessions: Vec<_> = seeds.into_iter().map(trace).collect();
        let mut lines = Vec::new();
        for session in sessions {
            lines.extend(session.join().expect("a session does not panic")?);
        }
        Ok(lines)
    })?;
    if let Some(expected) = expected {
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        fs::write(&expected, text).with_context(|| format!("cannot write {}", expected.display()))?;
    }
    Ok(())
}

/// Traces one sandbox, and returns what each span means when all of them were sent.
fn trace(settings: &Settings, seed: u64) -> Result<Vec<String>> {
    let mut rng = Rng::new(seed);
    let agent = Agent {
        endpoint: settings.endpoint.clone(),
        encoding: settings.encoding,
        exports: Exports::default(),
        ids: SeededIds::new(rng.u64()),
        resource: settings.resource.clone(),
    };
    let session = Session {
        mode: settings.mode,
        connections: settings.connections,
        sandbox_id: settings.sandbox_id.clone().unwrap_or_else(|| format!("{:032x}", rng.u128())),
        traceparent: settings.traceparent.clone(),
        pace: settings.pace,
        rng,
    };
    session.run(&agent);
    agent.exports.finish()
}

fn key_value(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').with_context(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_string(), value.to_string()))
}

/// A seed that agents started at the same time do not share.
fn seed_from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    now.as_nanos() as u64 ^ u64::from(process::id()) << 32
}
