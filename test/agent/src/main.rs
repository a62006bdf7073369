//! The agent's side of the wire, made from the crates a Kata agent is made from.

mod commands;
mod encoding;
mod endpoint;
mod exporter;
mod frame;
mod meaning;
mod rng;
mod session;
mod spans;
mod telemetry;

use anyhow::{Result, bail};
use pico_args::Arguments;
use std::process::ExitCode;

const USAGE: &str = "\
usage: kata-agent-side COMMAND [OPTIONS]

  agent   trace a sandbox's life and send the spans as a Kata agent does
            --vsock CID:PORT | --unix PATH   where to connect to
            --encoding bincode|json          an agent of Kata 2.2 to 3.28, or of 3.29 to 4.1 (default bincode)
            --mode isolated|collated         each RPC begins a trace, or comes with a parent (default isolated)
            --traceparent W3C                the runtime's span that collated RPC spans have as their parent
                                             (default: a parent for each RPC, in one trace)
            --connections static|dynamic     one connection for life, or one for each RPC (default static)
            --sessions N                     sandboxes at the same time, each with its own connections (default 1)
            --pace MILLISECONDS              wait after each RPC, and send what there is (default 0)
            --resource KEY=VALUE             an attribute of the spans' own resource; can be repeated
            --sandbox-id ID                  (default: chosen by the seed)
            --seed N                         for ids and durations (default: from the clock)
            --expected FILE                  write what each span means, one JSON object a line
  listen  save the frames of every agent that connects
            --vsock PORT | --unix PATH --out FILE
            --frames N                       exit after that many frames
  record  write a set of frames: NAME.bincode, NAME.json-frames, NAME.expected.jsonl
            --set random|nonfinite|load --out DIR --seed N
            --spans N                        (random and load only)
  decode  read frames on standard input, write on standard output a line for each: what it means, or its error
            --encoding bincode|json
  bench   decode a file's payloads over and over on one thread
            --file FRAMES --encoding bincode|json --seconds S
";

fn main() -> ExitCode {
    match run(Arguments::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kata-agent-side: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> Result<()> {
    if arguments.contains(["-h", "--help"]) {
        print!("{USAGE}");
        return Ok(());
    }
    match arguments.subcommand()?.as_deref() {
        Some("agent") => commands::agent::run(arguments),
        Some("bench") => commands::bench::run(arguments),
        Some("decode") => commands::decode::run(arguments),
        Some("listen") => commands::listen::run(arguments),
        Some("record") => commands::record::run(arguments),
        Some(other) => bail!("no command {other:?}: --help lists them"),
        None => bail!("which command? --help lists them"),
    }
}
