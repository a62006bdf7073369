//! One file a command; each takes the arguments that follow the command's name.

pub mod agent;
pub mod bench;
pub mod decode;
pub mod listen;
pub mod record;

use anyhow::{Result, bail};
use pico_args::Arguments;

/// Refuses what no option took, so that a misspelt option is not ignored.
fn finish(arguments: Arguments) -> Result<()> {
    match arguments.finish().first() {
        Some(argument) => bail!("unknown argument {argument:?}: --help lists the options"),
        None => Ok(()),
    }
}
