//! The least a forwarder can be: it saves frames as they come, those of several agents at once.

use crate::frame;
use anyhow::{Context, Result, bail};
use pico_args::Arguments;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex};
use std::thread;
use vsock::{VMADDR_CID_ANY, VsockListener};

/// Where frames are saved, each in one piece, and how many more are wanted.
struct Saved {
    file: File,
    wanted: Option<u64>,
}

pub fn run(mut arguments: Arguments) -> Result<()> {
    let port: Option<u32> = arguments.opt_value_from_str("--vsock")?;
    let path: Option<PathBuf> = arguments.opt_value_from_str("--unix")?;
    let out: PathBuf = arguments.value_from_str("--out")?;
    let wanted = arguments.opt_value_from_str("--frames")?;
    super::finish(arguments)?;

    let file = File::create(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let saved = Arc::new(Mutex::new(Saved { file, wanted }));
    match (port, path) {
        (Some(port), None) => {
            let listener = VsockListener::bind_with_cid_port(VMADDR_CID_ANY, port)
                .with_context(|| format!("cannot listen on vsock port {port}"))?;
            accept(|| listener.accept().map(|(connection, _)| connection), &saved)
        }
        (None, Some(path)) => {
            let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
            accept(|| listener.accept().map(|(connection, _)| connection), &saved)
        }
        _ => bail!("give either --vsock PORT or --unix PATH"),
    }
}

/// Saves what each connection brings, until enough came. The line it prints says that agents can connect.
fn accept<C: Read + Send + 'static>(next: impl Fn() -> io::Result<C>, saved: &Arc<Mutex<Saved>>) -> Result<()> {
    println!("listening");
    loop {
        let connection = next().context("cannot accept a connection")?;
        let saved = Arc::clone(saved);
        thread::spawn(move || {
            if let Err(error) = save(connection, &saved) {
                eprintln!("kata-agent-side: {error:#}");
                process::exit(1);
            }
        });
    }
}

fn save(connection: impl Read, saved: &Mutex<Saved>) -> Result<()> {
    let mut input = BufReader::new(connection);
    let mut payload = Vec::new();
    let mut frame = Vec::new();
    while frame::read(&mut input, &mut payload)? {
        frame.clear();
        frame::write(&mut frame, &payload)?;
        let mut saved = saved.lock().expect("no user of it panics");
        saved.file.write_all(&frame).context("cannot save a frame")?;
        if let Some(wanted) = &mut saved.wanted {
            *wanted -= 1;
            if *wanted == 0 {
                process::exit(0);
            }
        }
    }
    Ok(())
}
